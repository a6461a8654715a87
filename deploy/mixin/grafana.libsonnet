// The few shapes that the dashboards are made of: panels as functions of a title, a unit and queries.
{
  local datasource = { type: 'prometheus', uid: '${datasource}' },

  // A query and what its series are called.
  query(expr, legend):: { datasource: datasource, editorMode: 'code', expr: expr, legendFormat: legend, range: true },

  local numbered(queries) = [queries[i] { refId: std.char(65 + i) } for i in std.range(0, std.length(queries) - 1)],

  // A panel of this width; the dashboard is 24 wide.
  local panel(type, title, unit, queries, width, height) = {
    type: type,
    title: title,
    datasource: datasource,
    targets: numbered(queries),
    fieldConfig: { defaults: { unit: unit }, overrides: [] },
    gridPos: { h: height, w: width, x: 0, y: 0 },
  },

  graph(title, unit, queries, width=12):: panel('timeseries', title, unit, queries, width, 8) {
    fieldConfig+: { defaults+: { min: 0, custom: { fillOpacity: 10, showPoints: 'never' } } },
    options: {
      legend: { calcs: ['mean', 'max'], displayMode: 'table', placement: 'bottom', showLegend: true },
      tooltip: { mode: 'multi', sort: 'desc' },
    },
  },

  // The newest value.
  stat(title, unit, queries, width=4):: panel('stat', title, unit, queries, width, 4) {
    options: {
      colorMode: 'none',
      graphMode: 'area',
      justifyMode: 'auto',
      orientation: 'auto',
      reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
      showPercentChange: false,
      textMode: 'auto',
      wideLayout: true,
    },
  },

  // One row for each series of a query for now; `columns` are the labels to show, in order, and the value's name.
  table(title, unit, expr, columns, width=24):: panel('table', title, unit, [], width, 8) {
    targets: [{ datasource: datasource, editorMode: 'code', expr: expr, format: 'table', instant: true, range: false, refId: 'A' }],
    options: { cellHeight: 'sm', footer: { reducer: ['sum'], show: false }, frameIndex: 0, showHeader: true },
    transformations: [{
      id: 'organize',
      options: {
        excludeByName: { Time: true, __name__: true },
        indexByName: { [columns[i]]: i for i in std.range(0, std.length(columns) - 1) },
        renameByName: {},
      },
    }, {
      id: 'filterFieldsByName',
      options: { include: { names: columns } },
    }],
  },

  // A variable by the values of a label.
  local variable(name, label, query, multi) = {
    name: name,
    label: label,
    type: 'query',
    datasource: datasource,
    query: { query: query, refId: 'StandardVariableQuery' },
    refresh: 2,
    sort: 1,
    multi: multi,
    includeAll: multi,
    options: [],
    regex: '',
    hide: 0,
    skipUrlSync: false,
  } + (if multi then { allValue: '.*', current: { selected: true, text: ['All'], value: ['$__all'] } } else {}),

  many(name, label, query):: variable(name, label, query, true),
  one(name, label, query):: variable(name, label, query, false),

  local source = {
    name: 'datasource',
    label: 'Data source',
    type: 'datasource',
    query: 'prometheus',
    refresh: 1,
    options: [],
    regex: '',
    hide: 0,
    multi: false,
    includeAll: false,
    skipUrlSync: false,
  },

  // Panels one after the other, as many in a line as there is room for.
  local placed(panels) = std.foldl(
    function(sofar, panel)
      local fits = sofar.x + panel.gridPos.w <= 24;
      local x = if fits then sofar.x else 0;
      local y = if fits then sofar.y else sofar.y + sofar.h;
      {
        x: x + panel.gridPos.w,
        y: y,
        h: if fits then std.max(sofar.h, panel.gridPos.h) else panel.gridPos.h,
        panels: sofar.panels + [panel { id: std.length(sofar.panels) + 1, gridPos+: { x: x, y: y } }],
      },
    panels,
    { x: 0, y: 0, h: 0, panels: [] }
  ).panels,

  dashboard(uid, title, description, variables, panels):: {
    uid: uid,
    title: title,
    description: description,
    tags: ['collector', 'containers'],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    time: { from: 'now-1h', to: 'now' },
    refresh: '30s',
    timezone: 'browser',
    annotations: { list: [] },
    links: [{
      asDropdown: false,
      icon: 'external link',
      includeVars: true,
      keepTime: true,
      tags: ['collector'],
      targetBlank: false,
      title: '',
      tooltip: '',
      type: 'dashboards',
      url: '',
    }],
    templating: { list: [source] + variables },
    panels: placed(panels),
  },
}
