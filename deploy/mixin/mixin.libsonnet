// Dashboards, alerting and recording rules as a mixin. What the files beside it hold is not written here again.
{
  _config+:: {
    // The job that scrapes all containers, once for each node.
    selector: 'job=~"cadvisor|collector"',
  },
  local rules(text) = std.parseYaml(std.strReplace(text, 'job=~"cadvisor|collector"', $._config.selector)),
  prometheusAlerts+:: rules(importstr '../alerts/alerts.yaml'),
  prometheusRules+:: rules(importstr '../alerts/rules.yaml'),
  grafanaDashboards+:: import 'dashboards.libsonnet',
}
