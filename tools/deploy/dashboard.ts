// Our dashboards by Grafana's own types: nothing that it does not know, in panels, options, lines and queries.
import type * as grafana from "@grafana/schema/dist/esm/raw/dashboard/x/Dashboard_types.gen";
import type { Options as StatOptions } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type {
  FieldConfig as Lines,
  Options as TimeseriesOptions,
} from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// JSON has values where the types have enumerations.
type Json<T> = unknown extends T
  ? T
  : T extends string
    ? `${T}`
    : T extends number
      ? number extends T
        ? T
        : `${T}` extends `${infer N extends number}`
          ? N
          : T
      : T extends boolean | null | undefined
        ? T
        : T extends Array<infer U>
          ? Array<Json<U>>
          : { [K in keyof T]: Json<T[K]> };

type Query = { refId: string; datasource: grafana.DataSourceRef; expr: string; legendFormat: string };
type FieldConfig<Custom> = {
  defaults: Omit<grafana.FieldConfig, "custom"> & { custom?: Custom };
  overrides: [];
};
// Panels have neither plugins nor transformations that we do not list here.
type PanelOf<Type, Options, Custom> = Json<
  Pick<grafana.Panel, "id" | "title" | "description" | "datasource" | "gridPos">
> & {
  type: Type;
  options: Json<Options>;
  fieldConfig: Json<FieldConfig<Custom>>;
  targets: Array<Query>;
};
type Panel = PanelOf<"stat", StatOptions, never> | PanelOf<"timeseries", TimeseriesOptions, Lines>;
export type Dashboard = Json<Omit<grafana.Dashboard, "panels">> & { panels: Array<Panel> };
