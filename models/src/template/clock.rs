//! `strftime_now`: the date for templates that tell the model what day it is. In UTC: the zone of
//! the machine is nobody's business. Civil dates by Howard Hinnant's `civil_from_days`.

use std::time::SystemTime;

use minijinja::{Error, ErrorKind};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// From the day of 1970-01-01 on.
const DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];

/// `now` in UTC, written as `format` says (the fields of `strftime` that dates and times need).
pub(super) fn format(now: SystemTime, format: &str) -> Result<String, Error> {
    let seconds = match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_secs() as i64,
        Err(before) => -(before.duration().as_secs() as i64),
    };
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let hour12 = (hour + 11) % 12 + 1;
    let month_name = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
    let day_name = DAYS
        .get(days.rem_euclid(7) as usize)
        .copied()
        .unwrap_or_default();
    let short = |name: &'static str| name.get(..3).unwrap_or(name);
    let day_of_year = days - days_before(year) + 1;
    let weekday = (days + 4).rem_euclid(7); // from Sunday

    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut field = chars.next();
        let unpadded = field == Some('-');
        if unpadded {
            field = chars.next();
        }
        let number = |value: i64, width: usize| {
            if unpadded {
                value.to_string()
            } else {
                format!("{value:0width$}")
            }
        };
        out.push_str(&match field {
            Some('Y') => year.to_string(),
            Some('y') => number(year.rem_euclid(100), 2),
            Some('m') => number(month, 2),
            Some('B') => month_name.to_owned(),
            Some('b' | 'h') => short(month_name).to_owned(),
            Some('d') => number(day, 2),
            Some('e') if unpadded => day.to_string(),
            Some('e') => format!("{day:2}"),
            Some('j') => number(day_of_year, 3),
            Some('A') => day_name.to_owned(),
            Some('a') => short(day_name).to_owned(),
            Some('H') => number(hour, 2),
            Some('I') => number(hour12, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second, 2),
            Some('p') => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('f') => "000000".to_owned(),
            Some('w') => weekday.to_string(),
            Some('u') => ((weekday + 6) % 7 + 1).to_string(),
            Some('U') => number((day_of_year + 6 - weekday) / 7, 2),
            Some('W') => number((day_of_year + 6 - (weekday + 6) % 7) / 7, 2),
            Some('C') => number(year.div_euclid(100), 2),
            Some('D' | 'x') => format!("{month:02}/{day:02}/{:02}", year.rem_euclid(100)),
            Some('R') => format!("{hour:02}:{minute:02}"),
            Some('X') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('c') => format!(
                "{} {} {day:2} {hour:02}:{minute:02}:{second:02} {year}",
                short(day_name),
                short(month_name)
            ),
            Some('n') => "\n".to_owned(),
            Some('t') => "\t".to_owned(),
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('%') => "%".to_owned(),
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    "strftime_now: a field of the format is not known",
                ));
            }
        });
    }
    Ok(out)
}

/// Year, month (from 1) and day (from 1) of a day counted from 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // from 0000-03-01
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Days from 1970-01-01 to the first of January of `year`.
fn days_before(year: i64) -> i64 {
    let last = year - 1;
    365 * (year - 1970) + (last.div_euclid(4) - last.div_euclid(100) + last.div_euclid(400)) - 477
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn at(seconds: u64, fields: &str) -> String {
        format(
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            fields,
        )
        .unwrap()
    }

    #[test]
    fn known_instants_are_written_as_strftime_writes_them() {
        assert_eq!(
            at(0, "%Y-%m-%d %H:%M:%S %A %j"),
            "1970-01-01 00:00:00 Thursday 001"
        );
        assert_eq!(
            at(1_709_210_096, "%d %b %Y, %-I %p, %a %j"),
            "29 Feb 2024, 12 PM, Thu 060"
        );
        assert_eq!(at(4_102_444_799, "%F %T %y"), "2099-12-31 23:59:59 99");
        assert_eq!(
            at(1_709_210_096, "%c|%x|%X|%U|%W|%w|%u|%C|%R"),
            "Thu Feb 29 12:34:56 2024|02/29/24|12:34:56|08|09|4|4|20|12:34"
        );
    }

    #[test]
    fn each_day_of_four_centuries_follows_the_one_before() {
        let mut before = civil(-1);
        for day in 0..146_097 {
            let (year, month, date) = civil(day);
            let follows = (year, month, date) == (before.0, before.1, before.2 + 1)
                || (date == 1
                    && month == before.1 % 12 + 1
                    && year == before.0 + i64::from(month == 1));
            assert!(follows, "{day}");
            if (month, date) == (1, 1) {
                assert_eq!(days_before(year), day);
            }
            before = (year, month, date);
        }
        assert_eq!(before, (2369, 12, 31));
    }

    #[test]
    fn an_unknown_field_is_an_error() {
        assert!(format(SystemTime::UNIX_EPOCH, "%Q").is_err());
        assert!(format(SystemTime::UNIX_EPOCH, "100%").is_err());
    }
}
