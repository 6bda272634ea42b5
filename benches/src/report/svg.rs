//! Plots as inline SVG. Colours are the page's own, so that they follow light and dark.

use std::fmt::Write;

use super::html::escape;
use crate::measure::statistics::Summary;

const WIDTH: f64 = 460.0;
const LABELS: f64 = 130.0;
const VALUES: f64 = 66.0;
const LINE: f64 = 25.0;

/// One bar, with a whisker from the smallest to the largest value.
#[derive(Debug, Clone)]
pub struct Bar {
    /// Its name.
    pub label: String,
    /// Its length, and the ends of the whisker.
    pub value: Summary,
    /// Drawn in the colour that stands out.
    pub ours: bool,
}

/// Bars, one a line; nothing of nothing.
#[must_use]
pub fn bars(bars: &[Bar]) -> String {
    // One stalled peer would squeeze all others: whiskers may be cut, bars are not.
    let longest = bars.iter().map(|bar| bar.value.median).fold(0.0, f64::max);
    let most = bars.iter().map(|bar| bar.value.high).fold(0.0, f64::max).min(longest * 2.5);
    if most <= 0.0 {
        return String::new();
    }
    let room = WIDTH - LABELS - VALUES;
    let x = |value: f64| LABELS + room * (value / most).clamp(0.0, 1.0);
    let mut out = open(bars.len() as f64 * LINE);
    for (at, bar) in bars.iter().enumerate() {
        let top = at as f64 * LINE;
        let middle = top + LINE / 2.0;
        let colour = if bar.ours { "var(--own)" } else { "var(--peer)" };
        text(&mut out, (LABELS - 8.0, middle), "end", &bar.label);
        let _ = write!(
            out,
            "<rect x=\"{LABELS}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" fill=\"{colour}\"/>\
             <path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"var(--ink)\" stroke-width=\"1.5\"/>",
            top + 4.0,
            x(bar.value.median) - LABELS,
            LINE - 8.0,
            x(bar.value.low),
            x(bar.value.high),
        );
        let end = x(bar.value.high).max(x(bar.value.median));
        text(&mut out, (end + 6.0, middle), "start", &number(bar.value.median));
    }
    out.push_str("</svg>");
    out
}

/// One line of a plot.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its name.
    pub label: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

const HEIGHT: f64 = 190.0;
const FOOT: f64 = 24.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 96.0;

/// Lines over one axis, which is logarithmic where `log`; nothing where there are no two points.
#[must_use]
pub fn lines(lines: &[Line], log: bool) -> String {
    let across = |value: f64| if log { value.max(f64::MIN_POSITIVE).log10() } else { value };
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let xs = Summary::of(points().map(|(x, _)| across(*x)));
    let ys = Summary::of(points().map(|(_, y)| *y));
    let (Some(xs), Some(ys)) = (xs, ys) else { return String::new() };
    if xs.high <= xs.low || ys.high <= 0.0 {
        return String::new();
    }
    let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * (across(value) - xs.low) / (xs.high - xs.low);
    let y = |value: f64| 8.0 + (HEIGHT - FOOT - 8.0) * (1.0 - value / ys.high);
    let mut out = open(HEIGHT);
    for part in [0.0, 0.5, 1.0] {
        let at = y(ys.high * part);
        let _ = write!(out, "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"var(--line)\"/>", WIDTH - RIGHT);
        text(&mut out, (LEFT - 6.0, at), "end", &number(ys.high * part));
    }
    for (at, line) in lines.iter().enumerate() {
        let colour = if at == 0 { "var(--own)" } else { "var(--peer)" };
        let path: Vec<_> =
            line.points.iter().map(|(px, py)| format!("{:.1} {:.1}", x(*px), y(*py))).collect();
        let _ = write!(
            out,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join("L")
        );
        if let Some((px, py)) = line.points.last() {
            text(&mut out, (x(*px) + 6.0, y(*py)), "start", &line.label);
        }
    }
    let mut ticks: Vec<f64> = lines.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x)).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    // A long series is marked at its ends and in the middle alone.
    let every = ticks.len().div_ceil(6).max(1);
    for tick in ticks.into_iter().step_by(every) {
        text(&mut out, (x(tick), HEIGHT - 8.0), "middle", &number(tick));
    }
    out.push_str("</svg>");
    out
}

fn open(height: f64) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" font-size=\"12\" fill=\"var(--ink)\">")
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = escape(text);
    let _ = write!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" dominant-baseline=\"central\">{text}</text>"
    );
}

/// Three digits that matter, thousands in short.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 1e6 => format!("{:.3} M", value / 1e6).replace(".000", ""),
        size if size >= 1e4 => format!("{:.0} k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values_and_labels_are_no_markup() {
        let bar = |label: &str, value| Bar {
            label: label.to_owned(),
            value: Summary { median: value, low: value, high: value },
            ours: false,
        };
        let svg = bars(&[bar("<a>", 10.0), bar("b", 5.0)]);
        let width = |rest: &str| rest.split('"').next().unwrap().parse::<f64>().unwrap();
        let widths: Vec<f64> = svg.split(" width=\"").skip(1).map(width).collect();
        assert_eq!(widths.len(), 2);
        assert!((widths[0] / widths[1] - 2.0).abs() < 0.01, "{widths:?}");
        assert!(svg.contains("&lt;a&gt;") && !svg.contains("<a>"), "{svg}");
        assert_eq!(bars(&[]), "");
    }

    #[test]
    fn a_line_needs_two_places_and_ends_with_its_name() {
        let line = |points| Line { label: "p99".to_owned(), points };
        assert_eq!(lines(&[line(vec![(10.0, 1.0)])], true), "");
        let svg = lines(&[line(vec![(10.0, 1.0), (1000.0, 2.0)])], true);
        assert!(svg.contains(">p99</text>") && svg.contains(">1000</text>"), "{svg}");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 1.234, 12.34, 123.4, 12_345.0, 1e6].map(number);
        assert_eq!(shown, ["0", "1.23", "12.3", "123", "12 k", "1 M"]);
    }
}
