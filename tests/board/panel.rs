//! Panels as a table, and the dashboard that is made of them.

use serde_json::{Value, json};

use super::truth::{Expected, Truth};

/// A row of the dashboard, 24 units wide.
pub struct Row {
    pub title: &'static str,
    pub panels: Vec<Panel>,
}

/// One panel.
pub struct Panel {
    pub title: &'static str,
    pub description: &'static str,
    pub shape: Shape,
    pub unit: &'static str,
    pub width: u8,
    pub targets: Vec<Target>,
}

/// What a panel looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One number.
    Stat,
    /// Lines over time.
    Lines,
    /// Lines stacked to a whole.
    Shares,
    /// A bar for each label set, as it stands.
    Bars,
    /// A row for each label set.
    Table,
}

/// A query, and what it has to answer.
pub struct Target {
    pub query: &'static str,
    pub legend: &'static str,
    pub expected: fn(&Truth) -> Expected,
}

pub const fn target(query: &'static str, legend: &'static str, expected: fn(&Truth) -> Expected) -> Target {
    Target { query, legend, expected }
}

pub fn panel(
    title: &'static str,
    shape: Shape,
    unit: &'static str,
    width: u8,
    targets: Vec<Target>,
) -> Panel {
    Panel { title, description: "", shape, unit, width, targets }
}

impl Panel {
    pub fn says(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    fn kind(&self) -> &'static str {
        match self.shape {
            Shape::Stat => "stat",
            Shape::Lines | Shape::Shares => "timeseries",
            Shape::Bars => "bargauge",
            Shape::Table => "table",
        }
    }

    fn is_instant(&self) -> bool {
        !matches!(self.shape, Shape::Lines | Shape::Shares)
    }

    fn height(&self) -> u64 {
        if self.shape == Shape::Stat { 4 } else { 8 }
    }

    fn options(&self) -> Value {
        let reduce = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        match self.shape {
            Shape::Stat => json!({ "reduceOptions": reduce, "colorMode": "value", "graphMode": "none",
                "justifyMode": "auto", "textMode": "auto", "orientation": "auto", "wideLayout": true,
                "percentChangeColorMode": "standard", "showPercentChange": false }),
            Shape::Lines | Shape::Shares => json!({
                "legend": { "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": true },
                "tooltip": { "mode": "multi", "sort": "desc" } }),
            Shape::Bars => json!({ "reduceOptions": reduce, "displayMode": "basic", "valueMode": "color",
                "namePlacement": "auto", "showUnfilled": true, "sizing": "auto", "minVizWidth": 8,
                "minVizHeight": 16, "maxVizHeight": 300, "orientation": "horizontal",
                "legend": { "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": false } }),
            Shape::Table => json!({ "showHeader": true, "cellHeight": "sm", "frameIndex": 0,
                "showTypeIcons": false }),
        }
    }

    fn custom(&self) -> Value {
        match self.shape {
            Shape::Lines => {
                json!({ "drawStyle": "line", "fillOpacity": 0, "lineWidth": 1, "showPoints": "never" })
            }
            Shape::Shares => {
                json!({ "drawStyle": "line", "fillOpacity": 60, "lineWidth": 0, "showPoints": "never",
                "stacking": { "mode": "percent", "group": "A" } })
            }
            _ => json!({}),
        }
    }

    /// A table of several queries is one table, each of its columns a query.
    fn transformations(&self) -> Value {
        if self.shape != Shape::Table {
            return json!([]);
        }
        let names = self.targets.iter().enumerate().map(|(place, target)| {
            let name = if self.targets.len() == 1 {
                "Value".to_owned()
            } else {
                format!("Value #{}", letter(place))
            };
            (name, Value::from(target.legend))
        });
        json!([
            { "id": "merge", "options": {} },
            { "id": "organize", "options": {
                "excludeByName": { "Time": true }, "indexByName": {},
                "renameByName": names.collect::<serde_json::Map<_, _>>() } },
        ])
    }

    /// Percent, money and times stand side by side in the table of tenants.
    fn overrides(&self) -> Value {
        let units = [("Used", "percentunit"), ("Days left", "d"), ("Resets", "dateTimeAsIso")];
        let of = |(name, unit): &(&str, &str)| {
            json!({ "matcher": { "id": "byName", "options": name },
                "properties": [{ "id": "unit", "value": unit }] })
        };
        let shown = |name: &str| self.targets.iter().any(|target| target.legend == name);
        let overrides = units.iter().filter(|(name, _)| shown(name)).map(of);
        if self.shape == Shape::Table { overrides.collect() } else { json!([]) }
    }

    fn json(&self, id: u64, x: u64, y: u64) -> Value {
        let targets: Vec<Value> = self.targets.iter().enumerate().map(|(place, target)| {
            let mut query = json!({ "refId": letter(place), "expr": target.query, "instant": self.is_instant(),
                "range": !self.is_instant(), "legendFormat": target.legend, "datasource": datasource() });
            if self.shape == Shape::Table {
                query["format"] = "table".into();
            }
            query
        }).collect();
        json!({
            "id": id, "type": self.kind(), "title": self.title, "description": self.description,
            "gridPos": { "h": self.height(), "w": self.width, "x": x, "y": y },
            "datasource": datasource(), "targets": targets, "options": self.options(),
            "fieldConfig": { "defaults": { "unit": self.unit, "custom": self.custom(),
                "color": { "mode": "palette-classic" }, "links": links(self) }, "overrides": self.overrides() },
            "transformations": self.transformations(),
        })
    }
}

/// Returns the dashboard.
pub fn board(rows: &[Row]) -> Value {
    let (mut panels, mut id, mut y) = (Vec::new(), 0, 0);
    for row in rows {
        id += 1;
        panels.push(json!({ "type": "row", "id": id, "title": row.title, "collapsed": false, "panels": [],
            "gridPos": { "h": 1, "w": 24, "x": 0, "y": y } }));
        y += 1;
        let (mut x, mut height) = (0, 0);
        for panel in &row.panels {
            if x + u64::from(panel.width) > 24 {
                (x, y, height) = (0, y + height, 0);
            }
            id += 1;
            panels.push(panel.json(id, x, y));
            x += u64::from(panel.width);
            height = height.max(panel.height());
        }
        y += height;
    }
    json!({
        "uid": "tercet", "title": "Tercet", "tags": ["tercet"], "schemaVersion": 41, "version": 1,
        "description": "What was spent and saved, where requests went and why, who is near a limit, and how the gateway fares.",
        "editable": true, "graphTooltip": 1, "timezone": "browser", "refresh": "30s",
        "time": { "from": "now/d", "to": "now" },
        "annotations": { "list": [{
            "name": "Configuration", "enable": true, "hide": false, "iconColor": "purple",
            "datasource": datasource(), "expr": RELOADS, "titleFormat": "configuration taken over",
        }] },
        "links": [{ "title": "Tercet's own dashboard", "type": "link", "url": "${admin}/", "icon": "external link",
            "targetBlank": true, "asDropdown": false, "includeVars": false, "keepTime": false, "tags": [],
            "tooltip": "" }],
        "templating": { "list": variables() },
        "panels": panels,
    })
}

fn variables() -> Value {
    let all = json!({ "text": ["All"], "value": ["$__all"] });
    let of_label = |name: &str, label: &str, query: &str| {
        json!({ "name": name, "label": label, "type": "query", "datasource": datasource(),
            "query": { "query": query, "refId": name }, "refresh": 2, "sort": 1, "multi": true,
            "includeAll": true, "allValue": ".*", "current": all })
    };
    json!([
        { "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus" },
        of_label("tenant", "Tenant", "label_values(tercet_inflight_requests, tenant)"),
        of_label("model", "Model", "label_values(tercet_tokens_total, model)"),
        { "name": "interval", "label": "Rates over", "type": "custom", "query": "1h,6h,1d,7d",
            "current": { "text": "1d", "value": "1d" } },
        { "name": "admin", "label": "Admin listener", "type": "textbox", "query": "http://127.0.0.1:8788",
            "current": { "text": "http://127.0.0.1:8788", "value": "http://127.0.0.1:8788" } },
    ])
}

/// Where a panel has tenants, each leads to its page.
fn links(panel: &Panel) -> Value {
    if !panel.targets.iter().any(|target| target.query.contains("by (tenant")) {
        return json!([]);
    }
    let label =
        if panel.shape == Shape::Table { "${__data.fields.tenant}" } else { "${__field.labels.tenant}" };
    json!([{ "title": "Tenant", "url": format!("${{admin}}/tenants/{label}"), "targetBlank": true }])
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn letter(place: usize) -> String {
    char::from(b'A' + u8::try_from(place).unwrap()).to_string()
}

pub const RELOADS: &str =
    "changes(tercet_config_last_reload_success_timestamp_seconds[$__rate_interval]) > 0";
