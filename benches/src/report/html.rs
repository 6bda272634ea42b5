//! A page that needs nothing but itself: tables and SVG, in the reader's light or dark.

use std::fmt::Write;

/// A page.
#[derive(Debug)]
pub struct Page {
    title: String,
    subtitle: String,
    notes: Vec<String>,
    sections: Vec<Section>,
}

/// A part of a page.
#[derive(Debug)]
pub struct Section {
    title: String,
    body: String,
}

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1d2430;--dim:#5b6675;--paper:#fbfbfa;--card:#fff;--line:#dde1e6;--peer:#9aa7b8;--own:#2f6fde;
--good:#1a7f4b;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e5e9ef;--dim:#98a3b3;--paper:#14181e;--card:#1b2129;--line:#2f3844;--peer:#6f7e92;
--own:#6aa3ff;--good:#5cc98f;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:2rem 1.25rem 4rem;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.7rem;margin:0 0 .5rem}h2{font-size:1.1rem;margin:0 0 .75rem}
.dim,figcaption{color:var(--dim);font-size:.86rem;margin:.25rem 0;white-space:pre-line;overflow-wrap:anywhere}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1.1rem 1.25rem;margin:1.25rem 0}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(22rem,1fr));gap:1rem}
figure{margin:0}svg{width:100%;height:auto;display:block}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.86rem;margin-top:.75rem}
th,td{padding:.3rem .55rem;text-align:right;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}th{color:var(--dim);font-weight:600}
tr:last-child td{border-bottom:0}.own td{font-weight:600}.reached{color:var(--good)}.missed{color:var(--bad)}
";

impl Page {
    /// An empty page.
    #[must_use]
    pub fn new(title: &str, subtitle: &str) -> Self {
        Self { title: escape(title), subtitle: escape(subtitle), notes: Vec::new(), sections: Vec::new() }
    }

    /// A remark on the whole.
    pub fn note(&mut self, text: &str) {
        self.notes.push(escape(text));
    }

    /// Another section.
    pub fn section(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// The whole page.
    #[must_use]
    pub fn render(&self) -> String {
        let Self { title, subtitle, .. } = self;
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
             <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<p class=\"dim\">{subtitle}</p>\n"
        );
        for note in &self.notes {
            let _ = writeln!(page, "<p class=\"dim\">{note}</p>");
        }
        for section in &self.sections {
            let _ = writeln!(page, "<section><h2>{}</h2>{}</section>", section.title, section.body);
        }
        page.push_str("</body></html>\n");
        page
    }
}

impl Section {
    /// An empty section.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self { title: escape(title), body: String::new() }
    }

    /// Plots side by side, each an SVG with its caption; empty ones are left out.
    pub fn plots<const N: usize>(&mut self, plots: [(&str, String); N]) {
        let there: Vec<_> = plots.iter().filter(|(_, svg)| !svg.is_empty()).collect();
        if there.is_empty() {
            return;
        }
        self.body.push_str("<div class=\"plots\">");
        for (caption, svg) in there {
            let caption = escape(caption);
            let _ = write!(self.body, "<figure><figcaption>{caption}</figcaption>{svg}</figure>");
        }
        self.body.push_str("</div>");
    }

    /// A table. A row is marked where its first cell names a Bellhop, a cell where it is a verdict.
    pub fn table(&mut self, header: Vec<String>, rows: Vec<Vec<String>>) {
        self.body.push_str("<div class=\"scroll\"><table><tr>");
        for cell in header {
            let _ = write!(self.body, "<th>{}</th>", escape(&cell));
        }
        self.body.push_str("</tr>");
        for row in rows {
            let own = row.first().is_some_and(|cell| cell.starts_with("bellhop"));
            self.body.push_str(if own { "<tr class=\"own\">" } else { "<tr>" });
            for cell in row {
                let class = match cell.as_str() {
                    "reached" => " class=\"reached\"",
                    "missed" => " class=\"missed\"",
                    _ => "",
                };
                let _ = write!(self.body, "<td{class}>{}</td>", escape(&cell));
            }
            self.body.push_str("</tr>");
        }
        self.body.push_str("</table></div>");
    }

    /// A remark.
    pub fn note(&mut self, text: &str) {
        let _ = write!(self.body, "<p class=\"dim\">{}</p>", escape(text));
    }
}

/// Text that a page shows as it is.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_never_markup() {
        let mut section = Section::new("<b>&");
        section.table(vec!["\"x\"".to_owned()], vec![vec!["</td><script>".to_owned(), "missed".to_owned()]]);
        section.note("it's");
        let mut page = Page::new("t<", "s>");
        page.note("<i>");
        page.section(section);
        let page = page.render();
        assert!(!page.contains("<script>") && !page.contains("<b>") && !page.contains("<i>"), "{page}");
        for shown in
            ["&lt;b&gt;&amp;", "&lt;/td&gt;&lt;script&gt;", "&quot;x&quot;", "it&#39;s", "class=\"missed\""]
        {
            assert!(page.contains(shown), "{shown} is not in {page}");
        }
    }

    #[test]
    fn a_page_loads_nothing_from_elsewhere() {
        let page = Page::new("t", "s").render();
        assert!(!page.contains("http") && !page.contains("src=") && !page.contains("url("), "{page}");
    }
}
