/* Curves over the epochs: losses, metrics, learning rate, rows a second; of one run or several, while they grow. */
import { make } from "./dom.js";

const POINTS = 1500; // that are drawn of a curve; of more the least and the largest of each stretch
const SKIPPED = new Set(["epoch", "seconds", "loss", "validation_loss", "rows_per_second"]);

/* The places of the rows that are to be drawn: of each stretch those of the least and the largest of every column. */
export function thinned(columns, from, to) {
  const count = to - from;
  if (count <= POINTS) return Array.from({ length: count }, (_, i) => from + i);
  const stretches = Math.floor(POINTS / (2 * columns.length)), found = new Set([from, to - 1]);
  for (let each = 0; each < stretches; each += 1) {
    const begin = from + Math.floor((each * count) / stretches), end = from + Math.floor(((each + 1) * count) / stretches);
    for (const column of columns) {
      let least = begin, most = begin;
      for (let i = begin + 1; i < end; i += 1) {
        if (column[i] < column[least]) least = i;
        if (column[i] > column[most]) most = i;
      }
      found.add(least);
      found.add(most);
    }
  }
  return [...found].sort((a, b) => a - b);
}

export function curves(panel, page) {
  const host = make("div", null, { class: "grid" });
  panel.append(host);
  let made = "", drawings = [], due = false;

  function groups() {
    const names = new Set(page.runs.flatMap((run) => Object.keys(run.columns)));
    const metrics = [...names].filter((name) => !SKIPPED.has(name));
    return [
      { title: "Loss", names: ["loss", "validation_loss"].filter((name) => names.has(name)), log: false },
      ...metrics.map((name) => ({ title: name, names: [name] })),
      { title: "Rows a second", names: ["rows_per_second"].filter((name) => names.has(name)), log: false },
    ].filter((group) => group.names.length);
  }

  /* x and the series of a group, thinned; the epochs of several runs are put side by side. */
  function values(group, window) {
    const pieces = page.runs.map((run) => {
      const epochs = run.columns.epoch || [];
      let from = 0, to = epochs.length;
      if (window) {
        while (from < to && epochs[from] < window[0]) from += 1;
        while (to > from && epochs[to - 1] > window[1]) to -= 1;
        from = Math.max(0, from - 1);
        to = Math.min(epochs.length, to + 1);
      }
      const columns = group.names.map((name) => run.columns[name] || Array(epochs.length).fill(null));
      const places = thinned(columns, from, to);
      return { x: places.map((i) => epochs[i]), y: columns.map((column) => places.map((i) => column[i])) };
    });
    if (pieces.length === 1) return { x: pieces[0].x, series: pieces[0].y };
    const x = [...new Set(pieces.flatMap((piece) => piece.x))].sort((a, b) => a - b);
    const at = new Map(x.map((value, i) => [value, i]));
    return { x, series: pieces.flatMap((piece) => piece.y.map((column) => {
      const wide = Array(x.length).fill(undefined);
      column.forEach((value, i) => { wide[at.get(piece.x[i])] = value; });
      return wide;
    })) };
  }

  function words(group) {
    return page.runs.map((run) => group.names.map((name) => {
      const column = run.columns[name] || [], last = column[column.length - 1];
      const best = name.endsWith("loss") && column.length ? `, least ${charts.shown(column.reduce((a, b) => (b !== null && b < a ? b : a), Infinity))}` : "";
      return column.length ? `${page.runs.length > 1 ? `${run.name} ` : ""}${name.replaceAll("_", " ")} ${charts.shown(last)}${best}` : "";
    }).filter(Boolean).join("; ")).filter(Boolean).join("; ");
  }

  function build() {
    for (const each of drawings) each.handle.destroy();
    host.replaceChildren();
    drawings = groups().map((group) => {
      const place = make("section");
      host.append(place);
      const { x, series } = values(group);
      const handle = charts.lines(place, {
        title: group.title, told: words(group), numbers: true,
        x: { label: "epoch", values: x }, y: { label: "", ...(group.log === undefined ? {} : { log: group.log }) },
        series: series.map((column, i) => ({
          label: `${page.runs.length > 1 ? `${page.runs[Math.floor(i / group.names.length)].name} ` : ""}${group.names[i % group.names.length].replaceAll("_", " ")}`,
          values: column, spanGaps: true,
          colour: `series-${((page.runs.length > 1 ? Math.floor(i / group.names.length) : i) % 6) + 1}`,
          dash: [[], [8, 4]][i % group.names.length % 2],
        })),
      });
      return { group, handle };
    });
    rates();
  }

  async function rates() {
    const place = make("section");
    host.append(place);
    try {
      const all = await Promise.all(page.runs.map((_, number) => page.overview(number)));
      const known = all.map((found, number) => ({ found, number })).filter(({ found }) => found.rates.length);
      if (!known.length) return place.remove();
      const series = known.map(({ found, number }) => ({ label: page.runs.length > 1 ? page.runs[number].name : "learning rate",
        x: found.rates[0].map((step) => step / found.steps_per_epoch), y: found.rates[1] }));
      const x = [...new Set(series.flatMap((each) => each.x))].sort((a, b) => a - b);
      charts.lines(place, { title: "Learning rate", told: "of every step, as the schedule has it; the training may end before", numbers: false,
        x: { label: "epoch", values: x }, y: { label: "" },
        series: series.map((each) => ({ label: each.label, spanGaps: true, values: x.map((value) => { const i = each.x.indexOf(value); return i < 0 ? undefined : each.y[i]; }) })) });
    } catch (error) {
      place.append(make("h2", "Learning rate"), make("p", error.message, { class: "faint" }));
    }
    return undefined;
  }

  function refresh() {
    due = false;
    if (panel.hidden) return;
    const now = JSON.stringify([page.runs.map((run) => [run.name, run.key]), groups().map((group) => group.names)]);
    if (now !== made) {
      made = now;
      if (groups().length) return build();
      host.replaceChildren(make("p", page.runs.length ? "No epoch is done yet: its numbers appear here." : "Nothing is trained yet: press Train.", { class: "faint" }));
      drawings = [];
      return undefined;
    }
    for (const each of drawings) {
      const { x, series } = values(each.group, looked(each));
      each.handle.update({ x, series, told: words(each.group) });
    }
    return undefined;
  }

  /* The part of a curve that is looked at, where one was chosen: of it more points are drawn. */
  function looked(each) {
    const { min, max } = each.handle.plot.scales.x, run = page.run();
    const epochs = (run && run.columns.epoch) || [], last = Math.max(...page.runs.map((one) => (one.columns.epoch || []).at(-1) || 0));
    return epochs.length && (min > epochs[0] || max < (each.last || last) * 0.999) ? [min, max] : ((each.last = last), null);
  }

  return {
    show: refresh,
    news() {
      if (!due && page.runs.some((run) => run.new)) {
        due = true;
        requestAnimationFrame(refresh);
      }
    },
    theme: () => drawings.forEach((each) => each.handle.plot.redraw()),
  };
}
