// One of the dashboards, drawn by Grafana's own components but outside Grafana: what
// Grafana itself does between a query's answer and a panel is done here, as far as
// these dashboards use it.
import React, { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import * as grafana from '@grafana/data';
import {
  BigValue,
  GlobalStyles,
  PanelChrome,
  Table,
  TimeSeries,
  VizRepeater,
} from '@grafana/ui';

const WIDTH = 1600;
const COLUMN = WIDTH / 24;
const ROW = 38; // 30 of a row and 8 between rows
const GAP = 8;
const ZONE = 'utc';

const query = new URLSearchParams(location.search);
const name = query.get('dashboard');
const { boards, results, values, start, end, step } = loaded();
const theme = grafana.createTheme({ colors: { mode: 'light' } });

// "3 minutes ago" is from the end of the story, not from today.
Date.now = () => end * 1000;

function loaded() {
  const request = new XMLHttpRequest();
  request.open('GET', 'data.json', false); // once, before anything is drawn
  request.send();
  return JSON.parse(request.responseText);
}

// --- What a panel plugin registers: the properties that overrides may set.

const STANDARD = [
  'displayName', 'unit', 'decimals', 'min', 'max', 'noValue', 'color', 'links',
  'mappings', 'thresholds', 'filterable',
];
const CUSTOM = [
  'width', 'minWidth', 'align', 'hidden', 'cellOptions', 'axisPlacement', 'lineStyle',
  'fillOpacity', 'drawStyle', 'lineWidth', 'showPoints', 'pointSize', 'spanNulls',
  'stacking', 'thresholdsStyle', 'gradientMode', 'filterable', 'inspect',
  'lineInterpolation', 'scaleDistribution', 'axisCenteredZero',
];
const registry = new grafana.FieldConfigOptionsRegistry();
for (const [prefix, paths] of [['', STANDARD], ['custom.', CUSTOM]]) {
  for (const path of paths) {
    registry.register({
      id: prefix + path,
      path,
      name: path,
      isCustom: prefix !== '',
      process: (value) => value,
      shouldApply: () => true,
      override: () => null,
      editor: () => null,
      getItemsCount: () => 0,
    });
  }
}

const { mergeTransformer, organizeFieldsTransformer } = grafana.standardTransformers;
grafana.standardTransformersRegistry.setInit(() =>
  [mergeTransformer, organizeFieldsTransformer].map((one) => ({
    id: one.id,
    name: one.name,
    transformation: one,
    editor: () => null,
  }))
);

const THRESHOLDS = {
  mode: 'absolute',
  steps: [{ value: -Infinity, color: 'green' }, { value: 80, color: 'red' }],
};
const DEFAULTS = {
  timeseries: {
    drawStyle: 'line',
    lineInterpolation: 'linear',
    barAlignment: 0,
    lineWidth: 1,
    fillOpacity: 0,
    gradientMode: 'none',
    spanNulls: false,
    showPoints: 'auto',
    pointSize: 5,
    stacking: { mode: 'none', group: 'A' },
    axisPlacement: 'auto',
    axisLabel: '',
    axisColorMode: 'text',
    axisBorderShow: false,
    scaleDistribution: { type: 'linear' },
    axisCenteredZero: false,
    hideFrom: { tooltip: false, viz: false, legend: false },
    thresholdsStyle: { mode: 'off' },
  },
  table: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false },
};

function configOf(panel) {
  const { defaults, overrides } = structuredClone(panel.fieldConfig);
  defaults.color ??= { mode: 'thresholds' };
  defaults.thresholds ??= THRESHOLDS;
  defaults.custom = { ...DEFAULTS[panel.type], ...defaults.custom };
  return { defaults, overrides };
}

// --- What the Prometheus data source does: answers become frames.

function filled(text, scoped) {
  const field = () => {
    const context = scoped?.__dataContext?.value;
    return context?.field
      ? grafana.getFieldDisplayName(context.field, context.frame, context.data)
      : '';
  };
  return String(text ?? '')
    .replace(/\$\{__field\.displayName\}/g, field)
    .replace(/\$\{?(\w+)(?::\w+)?\}?/g, (all, variable) => values[variable] ?? all);
}

function legend(format, labels) {
  if (!format) {
    return JSON.stringify(labels);
  }
  return format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, one) => labels[one] ?? '').trim();
}

function tableOf(panel, target, series) {
  if (!series.length) {
    return grafana.toDataFrame({ refId: target.refId, fields: [] });
  }
  const labels = [...new Set(series.flatMap((one) => Object.keys(one.metric)))].sort();
  const several = panel.targets.length > 1;
  return grafana.toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: 'time', values: series.map((one) => one.value[0] * 1000) },
      ...labels.map((label) => ({
        name: label,
        type: 'string',
        values: series.map((one) => one.metric[label] ?? ''),
        config: { filterable: true },
      })),
      {
        name: several ? `Value #${target.refId}` : 'Value',
        type: 'number',
        values: series.map((one) => Number(one.value[1])),
      },
    ],
  });
}

function seriesOf(target, one) {
  const points = one.values ?? [one.value];
  // a scrape without a value is a gap in the line
  const known = new Map(points.map(([time, value]) => [time, Number(value)]));
  const times = [];
  for (let time = start; time <= end; time += step) {
    times.push(time);
  }
  const shown = one.values ? times : [one.value[0]];
  return grafana.toDataFrame({
    refId: target.refId,
    fields: [
      {
        name: 'Time',
        type: 'time',
        values: shown.map((time) => time * 1000),
        config: { interval: step * 1000 },
      },
      {
        name: 'Value',
        type: 'number',
        labels: one.metric,
        values: shown.map((time) => known.get(time) ?? null),
        config: { displayNameFromDS: legend(target.legendFormat, one.metric) },
      },
    ],
  });
}

function framesOf(panel) {
  return panel.targets.flatMap((target) => {
    const series = results[name][panel.id][target.refId];
    return target.format === 'table'
      ? [tableOf(panel, target, series)]
      : series.map((one) => seriesOf(target, one));
  });
}

// --- The panels.

function Nothing({ panel, height }) {
  const style = {
    textAlign: 'center',
    paddingTop: height / 3,
    color: theme.colors.text.secondary,
  };
  return <div style={style}>{panel.fieldConfig.defaults.noValue ?? 'No data'}</div>;
}

function Numbers({ panel, data, width, height }) {
  const { options } = panel;
  const shown = grafana.getFieldDisplayValues({
    fieldConfig: configOf(panel),
    reduceOptions: options.reduceOptions,
    replaceVariables: filled,
    theme,
    data,
    timeZone: ZONE,
  });
  return (
    <VizRepeater
      getValues={() => shown}
      source={data}
      width={width}
      height={height}
      orientation={options.orientation ?? 'auto'}
      itemSpacing={3}
      autoGrid
      renderValue={(one) => (
        <BigValue
          value={one.value.display}
          count={one.count}
          width={one.width}
          height={one.height}
          theme={theme}
          colorMode={options.colorMode}
          graphMode="none"
          justifyMode="auto"
          textMode={options.textMode}
          text={options.text}
          disableWideLayout={!(options.wideLayout ?? true)}
        />
      )}
    />
  );
}

function Lines({ panel, data, width, height }) {
  const [from, to] = [start, end].map((time) => grafana.dateTime(time * 1000));
  return (
    <TimeSeries
      frames={data}
      width={width}
      height={height}
      structureRev={1}
      timeRange={{ from, to, raw: { from, to } }}
      timeZone={ZONE}
      legend={panel.options.legend}
      options={panel.options}
    />
  );
}

function Drawn({ panel, data, width, height }) {
  if (data.every((frame) => !frame.length)) {
    return <Nothing panel={panel} height={height} />;
  }
  const given = { panel, data, width, height };
  switch (panel.type) {
    case 'timeseries':
      return <Lines {...given} />;
    case 'stat':
      return <Numbers {...given} />;
    case 'table':
      return (
        <Table
          data={data[0]}
          width={width}
          height={height}
          initialSortBy={panel.options.sortBy}
          cellHeight={panel.options.cellHeight}
          noHeader={false}
        />
      );
    default:
      throw new Error(`${panel.title}: nobody draws a ${panel.type}`);
  }
}

function Panel({ panel, onReady }) {
  const [data, setData] = useState(null);
  useEffect(() => {
    const transformed = grafana.transformDataFrame(
      panel.transformations ?? [],
      framesOf(panel)
    );
    const subscription = transformed.subscribe((frames) =>
      setData(
        grafana.applyFieldOverrides({
          data: frames,
          fieldConfig: configOf(panel),
          replaceVariables: filled,
          theme,
          timeZone: ZONE,
          fieldConfigRegistry: registry,
        })
      )
    );
    return () => subscription.unsubscribe();
  }, []);
  useEffect(() => {
    if (data) {
      onReady();
    }
  }, [data]);
  const { x, y, w, h } = panel.gridPos;
  const [width, height] = [w * COLUMN - GAP, h * ROW - GAP];
  const place = { left: x * COLUMN + GAP / 2, top: y * ROW, width, height };
  return (
    <div style={{ position: 'absolute', ...place }}>
      <PanelChrome
        title={filled(panel.title)}
        description={panel.description}
        width={width}
        height={height}
        padding={panel.type === 'table' ? 'none' : 'md'}
      >
        {(innerWidth, innerHeight) =>
          data && (
            <Drawn panel={panel} data={data} width={innerWidth} height={innerHeight} />
          )
        }
      </PanelChrome>
    </div>
  );
}

function Board({ board }) {
  const rows = board.panels.filter((panel) => panel.type === 'row');
  const panels = board.panels.filter((panel) => panel.type !== 'row');
  const below = board.panels.map(({ gridPos }) => gridPos.y + gridPos.h);
  const height = Math.max(...below) * ROW;
  const [ready, setReady] = useState(0);
  useEffect(() => {
    if (ready === panels.length) {
      document.body.dataset.height = String(height); // who takes the picture waits
    }
  }, [ready]);
  const canvas = { background: theme.colors.background.canvas };
  const heading = { left: 8, fontSize: 16, color: theme.colors.text.primary };
  return (
    <div style={{ position: 'relative', width: WIDTH, height, ...canvas }}>
      {rows.map(({ id, title, gridPos, collapsed }) => (
        <div
          key={id}
          style={{ position: 'absolute', top: gridPos.y * ROW + 6, ...heading }}
        >
          {collapsed ? '▸' : '▾'} {filled(title)}
        </div>
      ))}
      {panels.map((panel) => (
        <Panel
          key={panel.id}
          panel={panel}
          onReady={() => setReady((count) => count + 1)}
        />
      ))}
    </div>
  );
}

function App() {
  const [ready, setReady] = useState(false);
  useEffect(() => {
    // widths are measured once, so the fonts have to be there before
    const fonts = [400, 500].map((weight) => document.fonts.load(`${weight} 14px Inter`));
    Promise.all(fonts).then((loaded) => {
      if (loaded.some((faces) => !faces.length)) {
        throw new Error('Grafana has other fonts than are published here');
      }
      setReady(true);
    });
  }, []);
  return (
    <grafana.ThemeContext.Provider value={theme}>
      <GlobalStyles />
      {ready && <Board board={boards[name]} />}
    </grafana.ThemeContext.Provider>
  );
}

createRoot(document.getElementById('root')).render(<App />);
