/* Curves over the epochs: losses, metrics, learning rate, gradient, rows a second; of one run or several, while they grow. */
import { ask, button, make } from "./dom.js";

const POINTS = 1500; // that are drawn of a curve; of more the least and the largest of each stretch
const SKIPPED = new Set(["epoch", "seconds", "loss", "validation_loss", "rows_per_second", "gradient_norm"]);

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
        if (column[i] !== null && (column[i] < column[least] || column[least] === null)) least = i;
        if (column[i] > column[most] || column[most] === null) most = i;
      }
      found.add(least);
      found.add(most);
    }
  }
  return [...found].sort((a, b) => a - b);
}

export function curves(panel, page) {
  const host = make("div", null, { class: "grid" });
  const weight = make("p", [button("See how one weight changed in one step", () => page.show("network", { view: "back" }), { id: "one-weight" })]);
  panel.append(weight, host);
  let made = "", seen = "", drawings = [], due = false, gradient = null, last = 0, drawn = 0;
  const norms = [];

  function groups() {
    const names = new Set(page.runs.flatMap((run) => Object.keys(run.columns)));
    const metrics = [...names].filter((name) => !SKIPPED.has(name));
    return [
      { title: "Loss", names: ["loss", "validation_loss"].filter((name) => names.has(name)), log: false },
      ...metrics.map((name) => ({ title: name, names: [name] })),
      { title: "Rows a second", names: ["rows_per_second"].filter((name) => names.has(name)), log: false, live: false },
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
    return joined(pieces.flatMap((piece) => piece.y.map((y) => ({ x: piece.x, y }))));
  }

  /* How far the run that is chosen has come. */
  function stands() {
    const run = page.run();
    return run && run.count && ["training", "waiting"].includes(run.state) ? [{ x: run.columns.epoch.at(-1), label: "now" }] : [];
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
      const drawing = { handle, live: group.live !== false, update: () => handle.update({ ...values(group, looked(drawing)), told: words(group) }) };
      return drawing;
    });
    gradient = { place: make("section"), handle: null, trouble: "" };
    host.append(gradient.place);
    gradients();
    rates();
  }

  /* Pieces with x and y of their own, at common x. */
  function joined(pieces) {
    const x = [...new Set(pieces.flatMap((piece) => piece.x))].sort((a, b) => a - b), at = new Map(x.map((value, i) => [value, i]));
    return { x, series: pieces.map((piece) => {
      const wide = Array(x.length).fill(undefined);
      piece.x.forEach((value, i) => { wide[at.get(value)] = piece.y[i]; });
      return wide;
    }) };
  }

  /* What was measured while the runs were watched; of those that are over, what is calculated anew. */
  function measured() {
    return joined(page.runs.map((run, number) => {
      const again = norms[number] && norms[number].key === over(run) ? norms[number].found : null;
      if (again) return { x: again.epochs, y: again.norms };
      const column = run.columns.gradient_norm || [], places = [];
      column.forEach((value, i) => { if (value !== null) places.push(i); });
      return { x: places.map((i) => run.columns.epoch[i]), y: places.map((i) => column[i]) };
    }));
  }

  /* What tells one end of a run from another; "" while it trains, and of one that waits after many steps. */
  function over(run) {
    const long = run.state === "waiting" && run.steps > 2000;
    return run.state === "training" || long || !run.steps ? "" : `${run.key} ${run.steps}`;
  }

  function gradients() {
    if (!gradient) return;
    const { x, series } = measured(), { place, handle } = gradient, told = `${x.length} ${x.at(-1)} ${norms.map((each) => each.key).join()}`;
    if (handle && told === gradient.told) return;
    gradient.told = told;
    if (handle) handle.update({ x, series });
    else if (!x.length) place.replaceChildren(make("h2", "Gradient norm"), make("p", gradient.trouble || page.runs.some(over) ? gradient.trouble || "calculating …" : page.runs.some((run) => run.steered) ? "It is measured now and then, in half a hundredth of the time: the curve begins with the first." : "It is calculated when the training is over; while it goes on backpass train --live measures it.", { class: "faint" }));
    else {
      place.replaceChildren();
      gradient.handle = charts.lines(place, { title: "Gradient norm", told: "of all weights together, before some steps", numbers: false,
        x: { label: "epoch", values: x }, y: { label: "", log: false },
        series: series.map((column, i) => ({ label: page.runs.length > 1 ? page.runs[i].name : "gradient norm", values: column, spanGaps: true, colour: `series-${(i % 6) + 1}` })) });
      drawings.push({ handle: gradient.handle, update() {} });
    }
  }

  async function askAgain() {
    for (const [number, run] of page.runs.entries()) {
      const key = over(run);
      if (!key || (norms[number] && norms[number].key === key)) continue;
      norms[number] = { key, found: null };
      try {
        norms[number].found = await ask("norms", { run: number });
      } catch (error) {
        if (gradient) gradient.trouble = error.message;
      }
      gradients();
    }
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
      const { x, series: columns } = joined(series);
      const handle = charts.lines(place, { title: "Learning rate", told: "of every step, as the schedule has it; the training may end before", numbers: false,
        x: { label: "epoch", values: x }, y: { label: "" }, marks: stands(),
        series: series.map((each, i) => ({ label: each.label, spanGaps: true, values: columns[i] })) });
      drawings.push({ handle, update: () => handle.update({ marks: stands() }) });
    } catch (error) {
      place.append(make("h2", "Learning rate"), make("p", error.message, { class: "faint" }));
    }
    return undefined;
  }

  function refresh() {
    due = false;
    if (panel.hidden) return;
    const wanted = JSON.stringify([page.runs.map((run) => [run.name, run.key]), groups().map((group) => group.names)]);
    if (wanted !== made) {
      made = wanted;
      gradient = null;
      weight.hidden = !page.runs.length;
      if (groups().length) build();
      if (groups().length) return void askAgain();
      host.replaceChildren(make("p", page.runs.length ? "No epoch is done yet: its numbers appear here." : "Nothing is trained yet: press Train.", { class: "faint" }));
      drawings = [];
      return undefined;
    }
    // What is off the screen or does not hurry, and what has moved by less than a point, is drawn once a second.
    const epochs = Math.max(...page.runs.map((run) => run.count)), moves = epochs - last >= epochs / POINTS || epochs < last;
    const all = performance.now() - drawn > 950 || !page.runs.every((run) => run.state === "training");
    if (!all && !moves) return undefined;
    last = epochs;
    for (const each of drawings) if (all || (each.live && seenNow(each.handle.element))) each.update();
    if (!all) return undefined;
    drawn = performance.now();
    gradients();
    askAgain();
    return undefined;
  }

  function seenNow(element) {
    const { top, bottom } = element.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
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
      const states = page.runs.map((run) => run.state).join();
      if (!due && (states !== seen || page.runs.some((run) => run.new))) {
        seen = states;
        due = true;
        requestAnimationFrame(refresh);
      }
    },
    theme: () => drawings.forEach((each) => each.handle.plot.redraw()),
  };
}
