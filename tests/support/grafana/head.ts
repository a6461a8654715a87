// The head of a file that ends with each dashboard as a constant: the compiler finds whatever Grafana does not know.
import type { Dashboard, Panel } from "@grafana/schema";
import type { PrometheusDataQuery } from "@grafana/schema/dist/esm/raw/composable/prometheus/dataquery/x/PrometheusDataQuery_types.gen";
import type { Options as Stat } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { Options as Table } from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type { FieldConfig, Options as TimeSeries } from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

/** As JSON has it: the words of enumerations in place of their names. */
type Plain<T> = T extends string ? `${T}`
  : T extends (infer Item)[] ? Plain<Item>[]
  : T extends object ? { [Key in keyof T]: Plain<T[Key]> }
  : T;
type Fields<Custom> = Omit<NonNullable<Panel["fieldConfig"]>, "defaults"> & {
  defaults: Omit<NonNullable<Panel["fieldConfig"]>["defaults"], "custom"> & { custom?: Custom };
};
type Of<Type extends string, Options, Custom> = Omit<Panel, "type" | "options" | "targets" | "fieldConfig"> & {
  type: Type;
  options: Options;
  fieldConfig: Fields<Custom>;
  targets: PrometheusDataQuery[];
};
type Ours = Omit<Dashboard, "panels"> & {
  panels: (Of<"stat", Stat, never> | Of<"table", Table, never> | Of<"timeseries", TimeSeries, FieldConfig>)[];
};
