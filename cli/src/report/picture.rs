//! A roofline as SVG: how much is multiplied for each byte, against how much a second.
//!
//! In: roofs (bandwidths in GB/s, which are diagonals, and peaks in GMAC/s, which are level) and
//! points. Out: a drawing that stands alone, on light ground or dark. Both axes are logarithmic.
//! Labels look for a free place near what they name; a point's has a thin line to it if that is far.

use std::fmt::{self, Write};

/// A limit: GB/s or GMAC/s.
pub(crate) struct Roof {
    pub(crate) label: String,
    pub(crate) rate: f64,
    pub(crate) dashed: bool,
}

/// A measured kernel.
pub(crate) struct Point {
    /// Beside the point, if it is of the first series.
    pub(crate) label: String,
    /// Shown when the pointer rests on it.
    pub(crate) note: String,
    pub(crate) macs_per_byte: f64,
    pub(crate) gmac_s: f64,
    /// Index into [`Picture::series`].
    pub(crate) series: usize,
}

/// What is drawn.
pub(crate) struct Picture {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    /// Bandwidths, GB/s.
    pub(crate) memory: Vec<Roof>,
    /// Peaks, GMAC/s.
    pub(crate) peaks: Vec<Roof>,
    pub(crate) points: Vec<Point>,
    /// Multiply-adds for each byte that are worth a mark of their own, by name.
    pub(crate) guides: Vec<(String, f64)>,
    /// What the colours of points mean; the first one is labelled.
    pub(crate) series: Vec<String>,
}

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 640.0;
/// The plot's edges: room for axes on the left and below, for the peaks' names on the right.
const LEFT: f64 = 76.0;
const RIGHT: f64 = WIDTH - 168.0;
const TOP: f64 = 86.0;
const BOTTOM: f64 = HEIGHT - 62.0;
/// Height of a line of small text, and width of one of its characters, about.
const LINE: f64 = 13.0;
const CHAR: f64 = 6.3;

const STYLE: &str = "\
text{font:11px ui-sans-serif,system-ui,'DejaVu Sans',sans-serif;fill:#24292f}\
.title{font-size:18px;font-weight:600}.quiet{fill:#57606a}.ground{fill:#fff}\
.grid{stroke:#d8dee4;stroke-width:.7}.edge{stroke:#8c959f;fill:none}\
.mem{stroke:#0969da;fill:none;stroke-width:1.8}.memtext{fill:#0969da}\
.peak{stroke:#bc4c00;fill:none;stroke-width:1.8}.peaktext{fill:#bc4c00}\
.dash{stroke-dasharray:6 4}.edge.dash{stroke-width:.8;stroke-dasharray:2 3}.lead{stroke:#8c959f;stroke-width:.6}\
.halo{stroke:#fff;stroke-width:3;paint-order:stroke;stroke-linejoin:round}\
.s0{fill:#8250df}.s1{fill:#1a7f37}.s2{fill:#bf8700}.s3{fill:#cf222e}\
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9198a1}.ground{fill:#0d1117}\
.grid{stroke:#262c36}.edge{stroke:#6e7681}.mem{stroke:#58a6ff}.memtext{fill:#58a6ff}\
.peak{stroke:#f0883e}.peaktext{fill:#f0883e}.lead{stroke:#6e7681}.halo{stroke:#0d1117}\
.s0{fill:#bc8cff}.s1{fill:#3fb950}.s2{fill:#d29922}.s3{fill:#ff7b72}}";

/// A rectangle that something covers.
#[derive(Clone, Copy)]
struct Area {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

impl Area {
    fn meets(&self, o: &Area) -> bool {
        self.x < o.x + o.w && o.x < self.x + self.w && self.y < o.y + o.h && o.y < self.y + self.h
    }

    fn inside_plot(&self) -> bool {
        self.x > LEFT && self.x + self.w < RIGHT && self.y > TOP && self.y + self.h < BOTTOM
    }

    /// The area of small text that begins at x, with its baseline at y.
    fn text(x: f64, y: f64, text: &str) -> Area {
        Area {
            x,
            y: y - LINE + 3.0,
            w: CHAR * text.chars().count() as f64,
            h: LINE,
        }
    }
}

/// From numbers to places: logarithms of both axes between powers of two.
struct Scale {
    x: (f64, f64),
    y: (f64, f64),
}

impl Scale {
    fn x(&self, macs_per_byte: f64) -> f64 {
        let (from, to) = self.x;
        LEFT + (macs_per_byte.log2() - from) / (to - from) * (RIGHT - LEFT)
    }

    fn y(&self, gmac_s: f64) -> f64 {
        let (from, to) = self.y;
        BOTTOM - (gmac_s.log2() - from) / (to - from) * (BOTTOM - TOP)
    }
}

fn usable(x: f64) -> bool {
    x.is_finite() && x > 0.0
}

/// The lowest and highest of some positive numbers.
fn bounds(numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    numbers.filter(|&x| usable(x)).fold(None, |all, x| {
        let (low, high) = all.unwrap_or((x, x));
        Some((low.min(x), high.max(x)))
    })
}

impl Picture {
    fn scale(&self) -> Scale {
        let points = self.points.iter().map(|p| p.macs_per_byte);
        let (x0, x1) = bounds(points).unwrap_or((1.0, 64.0));
        let (peak_low, peak) = bounds(self.peaks.iter().map(|r| r.rate)).unwrap_or((1.0, 1.0));
        let (slow, _) = bounds(self.memory.iter().map(|r| r.rate)).unwrap_or((1.0, 1.0));
        // To the left of everything; to the right of the last ridge and of every point.
        let guides = self.guides.iter().map(|g| g.1);
        let x0 = bounds(guides).map_or(x0, |g| x0.min(g.0)).min(1.0) / 2.0;
        let x1 = (4.0 * peak / slow).max(2.0 * x1);
        let lowest = bounds(self.points.iter().map(|p| p.gmac_s)).map_or(f64::MAX, |b| b.0);
        // The scalar peak may lie far below: it is drawn only if it is in reach.
        let y0 = (slow * x0)
            .min(lowest / 2.0)
            .min(peak_low.max(slow * x0 / 8.0) / 1.5);
        Scale {
            x: (x0.log2().floor(), x1.log2().ceil()),
            y: (y0.log2().floor(), (1.7 * peak).log2().ceil()),
        }
    }

    /// Peaks within a few percent of one another share a line and its label.
    fn merged_peaks(&self) -> Vec<(f64, String)> {
        let mut peaks: Vec<(f64, Vec<&str>)> = Vec::new();
        for p in self.peaks.iter().filter(|p| usable(p.rate)) {
            match peaks.iter_mut().find(|q| (q.0 / p.rate - 1.0).abs() < 0.04) {
                Some(same) => same.1.push(&p.label),
                None => peaks.push((p.rate, vec![&p.label])),
            }
        }
        peaks.sort_by(|a, b| b.0.total_cmp(&a.0));
        let named = |(rate, labels): (f64, Vec<&str>)| (rate, labels.join(", "));
        peaks.into_iter().map(named).collect()
    }

    fn axes(&self, out: &mut String, s: &Scale) -> fmt::Result {
        let every = |span: f64| if span > 16.0 { 4 } else { 2 };
        let step = every(s.x.1 - s.x.0);
        for e in (s.x.0 as i32)..=(s.x.1 as i32) {
            let x = s.x(f64::from(e).exp2());
            write!(out, "<path class='grid' d='M{x:.1} {TOP}V{BOTTOM}'/>")?;
            if e % step == 0 {
                write!(
                    out,
                    "<text x='{x:.1}' y='{:.1}' text-anchor='middle'>{}</text>",
                    BOTTOM + 18.0,
                    power(e)
                )?;
            }
        }
        let step = every(s.y.1 - s.y.0);
        for e in (s.y.0 as i32)..=(s.y.1 as i32) {
            let y = s.y(f64::from(e).exp2());
            write!(out, "<path class='grid' d='M{LEFT} {y:.1}H{RIGHT}'/>")?;
            if e % step == 0 {
                write!(
                    out,
                    "<text x='{:.1}' y='{:.1}' text-anchor='end'>{}</text>",
                    LEFT - 8.0,
                    y + 4.0,
                    power(e)
                )?;
            }
        }
        write!(
            out,
            "<rect class='edge' x='{LEFT}' y='{TOP}' width='{}' height='{}'/>\
             <text class='quiet' x='{:.1}' y='{:.1}' text-anchor='middle'>multiply-adds for each byte read</text>\
             <text class='quiet' transform='translate(20 {:.1}) rotate(-90)' text-anchor='middle'>GMAC/s</text>",
            RIGHT - LEFT,
            BOTTOM - TOP,
            (LEFT + RIGHT) / 2.0,
            BOTTOM + 44.0,
            (TOP + BOTTOM) / 2.0,
        )
    }

    /// The roofs, and the areas that their labels cover.
    fn roofs(&self, out: &mut String, s: &Scale) -> Result<Vec<Area>, fmt::Error> {
        let mut taken: Vec<Area> = Vec::new();
        let peaks = self.merged_peaks();
        let top = peaks.first().map_or(s.y.1.exp2(), |p| p.0);
        let fast = bounds(self.memory.iter().map(|r| r.rate)).map_or(1.0, |b| b.1);
        let mut free_y = TOP - LINE;
        for (rate, label) in &peaks {
            let y = s.y(*rate);
            if y > BOTTOM {
                continue;
            }
            let from = s.x((rate / fast).max(s.x.0.exp2()));
            write!(out, "<path class='peak' d='M{from:.1} {y:.1}H{RIGHT}'/>")?;
            taken.push(Area {
                x: from,
                y: y - 2.0,
                w: RIGHT - from,
                h: 4.0,
            });
            // Names in the margin, each below the one before.
            let lines = wrapped(&format!("{label} {}", super::number(*rate)));
            free_y = (y + 4.0).max(free_y + LINE);
            for (i, line) in lines.iter().enumerate() {
                let at = free_y + LINE * i as f64;
                let (x, line) = (RIGHT + 8.0, escaped(line));
                write!(
                    out,
                    "<text class='peaktext' x='{x}' y='{at:.1}'>{line}</text>"
                )?;
            }
            free_y += LINE * (lines.len().saturating_sub(1)) as f64;
        }
        let slope = -(s.y(2.0) - s.y(1.0))
            .atan2(s.x(2.0) - s.x(1.0))
            .to_degrees();
        let memory: Vec<&Roof> = self.memory.iter().filter(|r| usable(r.rate)).collect();
        for (i, roof) in memory.iter().enumerate() {
            let x0 = s.x.0.exp2().max(s.y.0.exp2() / roof.rate);
            let x1 = (top / roof.rate).min(s.x.1.exp2());
            let (ax, ay) = (s.x(x0), s.y(x0 * roof.rate));
            let (bx, by) = (s.x(x1), s.y(x1 * roof.rate));
            let dash = if roof.dashed { " dash" } else { "" };
            write!(
                out,
                "<path class='mem{dash}' d='M{ax:.1} {ay:.1}L{bx:.1} {by:.1}'/>"
            )?;
            // Along the line, at different heights; below it if another line is close above.
            let share = 0.30 + 0.16 * (i % 4) as f64;
            let close = |r: &&&Roof| r.rate > roof.rate && r.rate < 1.7 * roof.rate;
            let below = memory.iter().any(|r| close(&r));
            let (x, y) = (ax + share * (bx - ax), ay + share * (by - ay));
            let label = format!("{} {} GB/s", roof.label, super::number(roof.rate));
            write!(
                out,
                "<text class='memtext halo' transform='translate({x:.1} {y:.1}) rotate({:.1})' \
                 text-anchor='middle' dy='{}'>{}</text>",
                -slope,
                if below { 14 } else { -5 },
                escaped(&label)
            )?;
            let half = CHAR * label.chars().count() as f64 / 2.0;
            let (dx, dy) = (slope.to_radians().cos(), -slope.to_radians().sin());
            let pieces = 8;
            for p in 0..=pieces {
                let t = half * (2.0 * f64::from(p) / f64::from(pieces) - 1.0);
                let shift = if below { 12.0 } else { -6.0 };
                taken.push(Area {
                    x: x + t * dx + shift - 6.0,
                    y: y + t * dy + shift - 12.0,
                    w: 18.0,
                    h: 20.0,
                });
            }
        }
        Ok(taken)
    }

    fn draw_points(&self, out: &mut String, s: &Scale, taken: &mut Vec<Area>) -> fmt::Result {
        let places: Vec<(&Point, f64, f64)> = self
            .points
            .iter()
            .filter(|p| usable(p.macs_per_byte) && usable(p.gmac_s))
            .map(|p| (p, s.x(p.macs_per_byte), s.y(p.gmac_s)))
            .collect();
        for &(_, x, y) in &places {
            taken.push(Area {
                x: x - 5.0,
                y: y - 5.0,
                w: 10.0,
                h: 10.0,
            });
        }
        let mut labels = String::new();
        for &(p, x, y) in places.iter().filter(|(p, ..)| p.series == 0) {
            let (area, far) = place(x, y, &p.label, taken);
            taken.push(area);
            if far {
                let (cx, cy) = (
                    x.clamp(area.x, area.x + area.w),
                    y.clamp(area.y, area.y + area.h),
                );
                write!(
                    out,
                    "<path class='lead' d='M{x:.1} {y:.1}L{cx:.1} {cy:.1}'/>"
                )?;
            }
            write!(
                labels,
                "<text class='halo' x='{:.1}' y='{:.1}'>{}</text>",
                area.x,
                area.y + LINE - 3.0,
                escaped(&p.label)
            )?;
        }
        for &(p, x, y) in &places {
            write!(
                out,
                "<circle class='s{}' cx='{x:.1}' cy='{y:.1}' r='4'><title>{}</title></circle>",
                p.series.min(3),
                escaped(&p.note)
            )?;
        }
        out.push_str(&labels);
        Ok(())
    }

    fn draw(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        let s = self.scale();
        write!(
            out,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' \
             width='{WIDTH}' height='{HEIGHT}' role='img'><title>{}</title><style>{STYLE}</style>\
             <rect class='ground' width='{WIDTH}' height='{HEIGHT}'/>\
             <text class='title' x='{LEFT}' y='36'>{}</text>\
             <text class='quiet' x='{LEFT}' y='58'>{}</text>",
            escaped(&self.title),
            escaped(&self.title),
            escaped(&self.subtitle)
        )?;
        self.axes(&mut out, &s)?;
        for (label, x) in self.guides.iter().filter(|g| usable(g.1)) {
            let x = s.x(*x);
            write!(
                out,
                "<path class='edge dash' d='M{x:.1} {TOP}V{BOTTOM}'/>\
                 <text class='quiet halo' transform='translate({:.1} {:.1}) rotate(-90)'>{}</text>",
                x - 4.0,
                BOTTOM - 8.0,
                escaped(label)
            )?;
        }
        let mut taken = self.roofs(&mut out, &s)?;
        self.draw_points(&mut out, &s, &mut taken)?;
        for (i, name) in self.series.iter().enumerate() {
            let x = RIGHT + 14.0;
            let y = BOTTOM - LINE * 1.5 * (self.series.len() - i) as f64 + 8.0;
            write!(
                out,
                "<circle class='s{}' cx='{x}' cy='{:.1}' r='4'/><text x='{}' y='{y:.1}'>{}</text>",
                i.min(3),
                y - 4.0,
                x + 10.0,
                escaped(name)
            )?;
        }
        out.push_str("</svg>\n");
        Ok(out)
    }
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.draw()?)
    }
}

/// A free place for a label, the nearer the better, and whether it is far from its point.
fn place(x: f64, y: f64, label: &str, taken: &[Area]) -> (Area, bool) {
    let size = Area::text(0.0, 0.0, label);
    let at = |distance: f64, angle: f64| {
        // The label's middle lies on an ellipse around the point that its own size widens.
        let (dx, dy) = (angle.cos(), angle.sin());
        Area {
            x: x + dx * (distance + size.w / 2.0) - size.w / 2.0,
            y: y + dy * (distance + size.h / 2.0) - size.h / 2.0,
            ..size
        }
    };
    for distance in [6.0, 12.0, 20.0, 32.0, 48.0, 68.0, 92.0, 120.0, 150.0] {
        for turn in [0, 8, 4, 12, 2, 14, 6, 10, 1, 15, 3, 13, 5, 11, 7, 9] {
            let area = at(distance, f64::from(turn) * std::f64::consts::TAU / 16.0);
            if area.inside_plot() && !taken.iter().any(|t| t.meets(&area)) {
                return (area, distance > 12.0);
            }
        }
    }
    (at(6.0, 0.0), false)
}

/// Lines of at most 24 characters, broken behind commas.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_inclusive(", ") {
        match lines.last_mut() {
            Some(line) if line.len() + word.trim_end().len() <= 24 => line.push_str(word),
            _ => lines.push(word.to_owned()),
        }
    }
    for line in &mut lines {
        line.truncate(line.trim_end().len());
    }
    lines
}

/// 2 to the e, as people write it.
fn power(e: i32) -> String {
    match e {
        0.. => format!("{}", f64::from(e).exp2()),
        _ => format!("1/{}", f64::from(-e).exp2()),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roof(label: &str, rate: f64) -> Roof {
        Roof {
            label: label.to_owned(),
            rate,
            dashed: false,
        }
    }

    fn picture() -> Picture {
        let point = |i: usize, x: f64, y: f64| Point {
            label: format!("Q{i}_K"),
            note: "a < b & c".to_owned(),
            macs_per_byte: x,
            gmac_s: y,
            series: i % 2,
        };
        Picture {
            title: "<CPU> & 'more'".to_owned(),
            subtitle: "2 threads".to_owned(),
            memory: vec![roof("DRAM", 45.0), roof("L3", 190.0), roof("L2", 210.0)],
            peaks: vec![
                roof("avx512 int8", 470.0),
                roof("avx2 int8", 236.0),
                roof("avx512 bf16", 235.0),
                roof("scalar f32", f64::NAN),
            ],
            points: (0..40)
                .map(|i| point(i, 1.0 + 0.02 * i as f64, 40.0 + 0.1 * i as f64))
                .collect(),
            guides: vec![("one token, Q4_K".to_owned(), 1.78)],
            series: vec!["avx512".to_owned(), "avx2".to_owned()],
        }
    }

    /// Every element that opens closes, in order, and text has no bare markup.
    fn assert_well_formed(svg: &str) {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = svg;
        while let Some(at) = rest.find('<') {
            assert!(!rest[..at].contains('>'), "bare > before {}", &rest[at..]);
            let end = at + rest[at..].find('>').expect("a tag ends");
            let tag = &rest[at + 1..end];
            assert!(!tag.contains('<'), "{tag}");
            assert_eq!(tag.matches('\'').count() % 2, 0, "{tag}");
            match (tag.strip_prefix('/'), tag.ends_with('/')) {
                (Some(name), _) => assert_eq!(open.pop(), Some(name)),
                (None, false) => open.push(tag.split(' ').next().unwrap()),
                (None, true) => {}
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn the_drawing_is_well_formed_and_finite() {
        let svg = picture().to_string();
        assert_well_formed(&svg);
        assert!(svg.contains("&lt;CPU&gt; &amp; &#39;more&#39;"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 40 + 2);
        assert!(svg.contains(">avx2 int8,<") && svg.contains(">avx512 bf16 236<"));
        assert!(svg.contains(">one token, Q4_K<"));
        let empty = Picture {
            memory: Vec::new(),
            peaks: Vec::new(),
            points: Vec::new(),
            ..picture()
        };
        assert_well_formed(&empty.to_string());
        assert!(!empty.to_string().contains("NaN"));
    }

    #[test]
    fn labels_do_not_overlap() {
        let mut taken = Vec::new();
        for i in 0..40 {
            let (area, _) = place(400.0 + f64::from(i), 300.0, "IQ4_XS", &taken);
            assert!(area.inside_plot());
            assert!(!taken.iter().any(|t: &Area| t.meets(&area)));
            taken.push(area);
        }
    }

    #[test]
    fn long_names_break_behind_commas() {
        assert_eq!(
            wrapped("avx2 int8, avx512 bf16 236"),
            ["avx2 int8,", "avx512 bf16 236"]
        );
        assert_eq!(wrapped("a, b 1"), ["a, b 1"]);
        assert_eq!(
            (power(3), power(-2), power(0)),
            ("8".into(), "1/4".into(), "1".into())
        );
    }
}
