use hob_models::template::{ChatTemplate, Message};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

#[test]
fn real() {
    let Some(path) = std::env::var_os("HOB_TEMPLATE_CASES") else {
        return;
    };
    let file: Value = serde_json::from_reader(std::fs::File::open(path).unwrap()).unwrap();
    let (mut ok, mut n) = (0, 0);
    let mut worst = (0.0, String::new());
    for case in file.as_array().unwrap() {
        n += 1;
        let name = format!(
            "{} / {}",
            case["name"].as_str().unwrap(),
            case["conv"].as_str().unwrap()
        );
        let mut given: BTreeMap<String, Value> = case["given"]
            .as_object()
            .unwrap()
            .clone()
            .into_iter()
            .collect();
        let messages: Vec<Message> = given
            .remove("messages")
            .unwrap()
            .as_array()
            .unwrap()
            .iter()
            .map(|m| Message::from_fields(m.as_object().unwrap().clone()))
            .collect();
        let gen_ = given
            .remove("add_generation_prompt")
            .map_or(true, |v| v.as_bool().unwrap());
        let t = std::time::Instant::now();
        let found =
            ChatTemplate::new(case["source"].as_str().unwrap(), "<s>", "</s>").and_then(|t| {
                t.at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_437_296))
                    .render(&messages, gen_, &given)
            });
        let t = t.elapsed().as_secs_f64();
        if t > worst.0 {
            worst = (t, name.clone());
        }
        match (&found, case["text"].as_str()) {
            (Ok(spans), Some(expected)) => {
                let text: String = spans.iter().map(|s| s.text.as_str()).collect();
                if text == expected {
                    ok += 1;
                    continue;
                }
                let same = text
                    .chars()
                    .zip(expected.chars())
                    .take_while(|(a, b)| a == b)
                    .count();
                let part = |t: &str| -> String {
                    t.chars().skip(same.saturating_sub(40)).take(120).collect()
                };
                println!(
                    "DIFF {name}\n  expected {:?}\n  found    {:?}",
                    part(expected),
                    part(&text)
                );
            }
            (Err(_), None) => ok += 1,
            (Err(e), Some(_)) => println!("ERR {name}: {e}"),
            (Ok(_), None) => println!("LENIENT {name}: python: {}", case["error"]),
        }
    }
    println!("{ok} of {n}; slowest {worst:?}");
}
