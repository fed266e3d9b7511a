"use strict";
/* Charts for backpass's pages: small functions over uPlot, and tables where a table says it better.

Each takes the element to draw in and a description, and writes a figure there: a caption with a title and what is to be
seen in words (`told`), the picture, and its numbers as a table where they are few. What stands in them is set as text,
never as HTML. Colours are those of style.css, and follow its themes.

  charts.lines(host, { title, told, x: { label, values, whole }, y: { label, log }, series: [{ label, values, ... }], ... })
  charts.scatter(host, { title, told, x: { label }, y: { label }, series: [{ label, x, y }], ... })
  charts.histogram(host, { title, told, x: { label }, y: { label }, edges, series: [{ label, counts }] })
  charts.matrix(host, { title, told, corner, rows, columns, values, ... })
  charts.bars(host, { title, told, heads, items: [{ name, value, spread }] })
  charts.table(host, { title, heads, rows })

Those of the first three return a handle: `update`, `setLog`, `reset`, `destroy`, and uPlot's own object as `plot`. */
const charts = (() => {
  const COLOURS = 6, MOST_NUMBERS = 40, DENSE = 10;
  const WHOLE = [...Array(9).keys()].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));
  const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [4, 4], [14, 4]];
  const alive = new Set();
  let probe = null;

  function make(kind, content, about) {
    const element = document.createElement(kind);
    if (Array.isArray(content)) element.append(...content);
    else if (content !== undefined && content !== null) element.textContent = content;
    for (const [name, value] of Object.entries(about || {})) {
      if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    return element;
  }

  /* A colour of style.css as it is now: "ink", "series-1", ... */
  function colour(name) {
    if (!probe) {
      probe = make("span", "", { hidden: true });
      document.body.append(probe);
    }
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  }

  function faded(name, part) {
    return colour(name).replace(/^rgb\((.*)\)$/, `rgba($1, ${part})`);
  }

  function shown(value, digits) {
    if (value === null || value === undefined) return "";
    if (typeof value !== "number") return String(value);
    if (!Number.isFinite(value)) return "not finite";
    const size = Math.abs(value);
    if (Number.isInteger(value) && size < 1e15) return value.toLocaleString("en-US");
    if (size && (size < 1e-4 || size >= 1e7)) return Number(value.toPrecision(digits || 4)).toExponential();
    if (size >= 1e4) return Math.round(value).toLocaleString("en-US");
    return String(Number(value.toPrecision(digits || 4)));
  }

  function isNumber(value) {
    return typeof value === "number" || value === null || value === undefined || /^[-–]?[\d.,]*( %)?$/.test(value);
  }

  function tableOf(heads, rows, about) {
    const numeric = heads.map((_, column) => rows.length > 0 && rows.every((row) => isNumber(row[column])));
    const head = make("thead", [make("tr", heads.map((name, column) =>
      make("th", name, { scope: "col", class: numeric[column] ? "number" : null })))]);
    const body = make("tbody", rows.map((row) => make("tr", row.map((cell, column) => cell instanceof Node ? make("td", [cell])
      : make("td", shown(cell), { class: numeric[column] ? "number" : null })))));
    return make("table", [head, body], about);
  }

  /* A figure in `host`, with the place for its picture. */
  function figure(host, spec) {
    const tools = make("span", undefined, { class: "tools" });
    const caption = make("figcaption", [tools, make("strong", spec.title || ""), make("span", spec.told || "", { class: "faint" })]);
    const place = make("div", undefined, { class: "plot" });
    const whole = make("figure", [caption, place]);
    host.append(whole);
    return { whole, place, tools, say: (told) => { caption.lastChild.textContent = told; } };
  }

  /* So many of many rows, evenly spaced, with the first and the last. */
  function sampled(rows, most) {
    if (rows.length <= most) return rows;
    return Array.from({ length: most }, (_, i) => rows[Math.round((i * (rows.length - 1)) / (most - 1))]);
  }

  function numbersOf(x, series) {
    const some = sampled(x.values.map((_, row) => row), MOST_NUMBERS);
    const rows = some.map((row) => [x.values[row], ...series.map((each) => each.values[row])]);
    const name = some.length < x.values.length ? `Numbers, ${some.length} of ${shown(x.values.length)} rows` : "Numbers";
    return make("details", [make("summary", name), tableOf([x.label, ...series.map((each) => each.label)], rows)]);
  }

  function styleOf(each, number) {
    const tint = each.colour || `series-${(number % COLOURS) + 1}`;
    const style = {
      label: each.label,
      stroke: () => colour(tint),
      width: each.width || 2,
      dash: each.dash || DASHES[number % DASHES.length],
      spanGaps: Boolean(each.spanGaps),
      value: (_, value) => (value === null || value === undefined ? "–" : shown(value)),
      points: { show: each.kind === "points" || Boolean(each.marks), size: each.size || 6 },
    };
    if (each.kind === "points") {
      style.paths = () => null;
      style.points.fill = () => faded(tint, 0.55);
      style.points.width = 0.5;
    }
    if (each.kind === "bars") {
      style.paths = uPlot.paths.bars({ size: [1, Infinity], align: 1, gap: 1 });
      style.fill = () => faded(tint, 0.35);
      style.width = 1;
      style.dash = [];
      style.points.show = false;
    }
    if (each.kind === "steps") style.paths = uPlot.paths.stepped({ align: 1 });
    if (each.hidden) style.show = false;
    return style;
  }

  function axis(label, log) {
    return {
      label: label || null,
      labelSize: 26,
      labelGap: 4,
      labelFont: "13px system-ui, sans-serif",
      font: "12px system-ui, sans-serif",
      stroke: () => colour("faint"),
      grid: { stroke: () => colour("line"), width: 1 },
      ticks: { stroke: () => colour("line"), width: 1 },
      values: (_, splits) => splits.map((value) => (value === null ? "" : shown(value, 6))),
      size: (_, values) => 18 + 7 * Math.max(3, ...(values || []).map((text) => String(text).length)),
      space: log ? 24 : 36,
    };
  }

  /* Lines, dots and words in the picture that belong to no series: `guides` across it, `marks` at an x. */
  function annotate(plot, spec) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio || 1;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.lineWidth = ratio;
    ctx.font = `${12 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    ctx.setLineDash([4 * ratio, 4 * ratio]);
    ctx.strokeStyle = ctx.fillStyle = colour("faint");
    for (const guide of spec.guides || []) {
      const ends = guide.from ? [guide.from, guide.to] : [[plot.scales.x.min, guide.y], [plot.scales.x.max, guide.y]];
      ctx.beginPath();
      for (const [x, y] of ends) ctx.lineTo(plot.valToPos(x, "x", true), plot.valToPos(y, "y", true));
      ctx.stroke();
      if (guide.label) ctx.fillText(guide.label, bbox.left + 6 * ratio, plot.valToPos(ends[0][1], "y", true) - 5 * ratio);
    }
    ctx.strokeStyle = ctx.fillStyle = colour("here");
    for (const mark of spec.marks || []) {
      const x = plot.valToPos(mark.x, "x", true);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      const left = x > bbox.left + bbox.width * 0.7;
      ctx.textAlign = left ? "right" : "left";
      ctx.fillText(mark.label, x + (left ? -5 : 5) * ratio, bbox.top + 14 * ratio);
    }
    ctx.restore();
  }

  function isPositive(series) {
    const values = series.flatMap((each) => each.values.filter((value) => value !== null && value !== undefined));
    return values.length > 0 && values.every((value) => value > 0);
  }

  /* A picture by uPlot of series with values at common x, ascending. */
  function draw(host, spec) {
    const made = figure(host, spec);
    let log = spec.y.log === true, zoomed = false, plot = null;

    function range(of) {
      return of.range ? { range: of.range } : {};
    }

    function columns() {
      return [spec.x.values, ...spec.series.map((each) =>
        log ? each.values.map((value) => (value > 0 ? value : null)) : each.values)];
    }

    function options() {
      return {
        width: Math.max(120, made.place.clientWidth),
        height: spec.height || 260,
        scales: { x: { time: false, ...range(spec.x) }, y: log ? { distr: 3 } : range(spec.y) },
        axes: [{ ...axis(spec.x.bare ? "" : spec.x.label), size: 34, space: 50, ...(spec.x.whole ? { incrs: WHOLE } : {}) }, axis(spec.y.label, log)],
        series: [{ label: spec.x.label, value: (_, value) => shown(value) }, ...spec.series.map(styleOf)],
        bands: (spec.bands || []).map((band) => ({ series: band.series, fill: () => faded(band.colour || "series-1", 0.18) })),
        cursor: { drag: { x: true, y: Boolean(spec.zoomBoth), setScale: true }, points: { size: 7 } },
        legend: { show: spec.legend !== false, live: spec.live !== false },
        hooks: {
          draw: [(drawn) => annotate(drawn, spec)],
          setSelect: [(drawn) => { zoomed = zoomed || drawn.select.width > 0; }],
          ready: [(drawn) => drawn.over.addEventListener("dblclick", () => { zoomed = false; })],
        },
      };
    }

    function build() {
      if (plot) plot.destroy();
      plot = new uPlot(options(), columns(), made.place);
      zoomed = false;
    }

    function zoom(factor, shift) {
      const { min, max } = plot.scales.x, width = (max - min) * factor, middle = (min + max) / 2 + shift * (max - min);
      zoomed = true;
      plot.setScale("x", { min: middle - width / 2, max: middle + width / 2 });
    }

    const handle = {
      element: made.whole,
      get plot() { return plot; },
      /* New values: { x: [...], series: [[...], ...], marks, told }; the part that is looked at stays if it was chosen. */
      update(news) {
        if (news.x) spec.x = { ...spec.x, values: news.x };
        if (news.series) spec.series = spec.series.map((each, i) => ({ ...each, values: news.series[i] }));
        if (news.marks) spec.marks = news.marks;
        if (news.told !== undefined) {
          made.say(news.told);
          made.place.setAttribute("aria-label", `${spec.title}. ${news.told}`);
        }
        plot.setData(columns(), !zoomed);
        if (zoomed) plot.redraw();
      },
      setLog(value) {
        log = value;
        build();
      },
      reset() {
        zoomed = false;
        plot.setData(columns(), true);
      },
      rebuild: build,
      destroy() {
        watcher.disconnect();
        alive.delete(handle);
        plot.destroy();
        made.whole.remove();
      },
    };

    made.place.setAttribute("role", "img");
    made.place.setAttribute("tabindex", "0");
    made.place.setAttribute("aria-label", `${spec.title}. ${spec.told || ""}`);
    made.place.title = "Drag to zoom, or + and -; arrows move; 0 or a double click shows all";
    made.place.addEventListener("keydown", (event) => {
      const moves = { "+": [0.5, 0], "=": [0.5, 0], "-": [2, 0], ArrowLeft: [1, -0.2], ArrowRight: [1, 0.2] };
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "0") handle.reset();
      else if (event.key in moves) zoom(...moves[event.key]);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    if (spec.y.log !== undefined && isPositive(spec.series)) {
      const button = make("button", "log scale", { type: "button", "aria-pressed": String(log) });
      button.addEventListener("click", () => {
        handle.setLog(!log);
        button.setAttribute("aria-pressed", String(log));
      });
      made.tools.append(button);
    } else log = false;
    if (spec.numbers !== false) made.whole.append(numbersOf(spec.x, spec.series));
    build();
    const watcher = new ResizeObserver(() => {
      const width = Math.max(120, made.place.clientWidth);
      if (width !== plot.width) plot.setSize({ width, height: spec.height || 260 });
    });
    watcher.observe(made.place);
    alive.add(handle);
    return handle;
  }

  /* Of series: kind "line", "steps", "points" or "bars"; colour, dash, width, marks, hidden. `y.log` true or false offers a
     logarithmic scale; `bands` fill between two series, { series: [upper, lower], colour }, counted from 1; `guides` are
     { y, label } or { from: [x, y], to: [x, y], label }; `marks` { x, label }. */
  function lines(host, spec) {
    return draw(host, { ...spec, series: spec.series.map((each) => ({ kind: "line", ...each })) });
  }

  /* Points of one or several groups, each with x and y of its own; of the kind "line" they are joined. */
  function scatter(host, spec) {
    const points = spec.series.flatMap((each, group) => each.x.map((x, i) => [x, group, each.y[i]]));
    points.sort((a, b) => a[0] - b[0]);
    const series = spec.series.map((each, group) => ({
      kind: "points", spanGaps: each.kind === "line", ...each, values: points.map(([, own, y]) => (own === group ? y : null)) }));
    return draw(host, { numbers: false, zoomBoth: true, ...spec, x: { ...spec.x, values: points.map(([x]) => x) }, series });
  }

  /* How many values lie between each two of the edges. */
  function histogram(host, spec) {
    const { edges } = spec, last = edges[edges.length - 1];
    const series = spec.series.map((each, i) => ({ kind: i ? "steps" : "bars", ...each, values: each.counts }));
    return draw(host, { ...spec, x: { ...spec.x, values: edges.slice(0, -1), range: [edges[0], last] },
      y: { range: (_, low, high) => [Math.min(0, low), high * 1.05 || 1], ...spec.y }, series });
  }

  /* A heat map, or a confusion matrix (`square`: what lies on the diagonal is right): a table whose cells are the more
     coloured the larger they are, each within its row where `byRow`. `bare` shows no numbers but to who asks for them. */
  function matrix(host, spec) {
    const made = figure(host, spec);
    const top = (values) => Math.max(...values.map((value) => Math.abs(value || 0)), 1e-300);
    const most = top(spec.values.flat());
    const head = make("tr", [make("th", spec.corner || ""), ...spec.columns.map((name) =>
      make("th", name, { scope: "col", class: "number" }))]);
    const body = spec.values.map((row, i) => {
      const scale = spec.byRow ? top(row) : most;
      return make("tr", [make("th", spec.rows[i], { scope: "row" }), ...row.map((value, j) => {
        const text = spec.text ? spec.text(value) : shown(value);
        const kinds = [value < 0 ? "below" : "", value ? "" : "none", spec.square && i === j ? "right" : ""].filter(Boolean).join(" ");
        const cell = make("td", spec.bare ? "" : text, { class: kinds || null });
        cell.title = `${spec.rows[i]}, ${spec.columns[j]}: ${text}`;
        if (spec.bare) cell.setAttribute("aria-label", cell.title);
        cell.style.setProperty("--heat", String(Math.abs(value || 0) / scale));
        return cell;
      })]);
    });
    made.place.append(make("table", [make("thead", [head]), make("tbody", body)],
      { class: `matrix${spec.bare ? " bare" : spec.columns.length > DENSE ? " dense" : ""}`, "aria-label": spec.title }));
    made.place.style.overflowX = "auto";
    return made.whole;
  }

  /* Bars from 0, one a line, each with its name, its number and how far it spreads to both sides. */
  function bars(host, spec) {
    const made = figure(host, spec);
    const ends = spec.items.flatMap((each) => [each.value - (each.spread || 0), each.value + (each.spread || 0)]);
    const low = Math.min(0, ...ends), high = Math.max(0, ...ends), width = high - low || 1;
    const at = (value) => (100 * (value - low)) / width;
    const spot = (kind, from, to) => {
      const mark = make("i", undefined, { class: kind });
      mark.style.left = `${at(Math.min(from, to))}%`;
      if (from !== to) mark.style.width = `${at(Math.max(from, to)) - at(Math.min(from, to))}%`;
      return mark;
    };
    const rows = spec.items.map((each) => {
      const track = make("div", [spot(each.value < 0 ? "bar below" : "bar", 0, each.value), spot("zero", 0, 0)]);
      if (each.spread) track.append(spot("spread", each.value - each.spread, each.value + each.spread));
      return make("tr", [make("th", each.name, { scope: "row", class: "name" }), make("td", [track], { class: "track", "aria-hidden": "true" }),
        make("td", shown(each.value, 3), { class: "number" }), make("td", each.spread === undefined ? "" : `± ${shown(each.spread, 2)}`, { class: "number" })]);
    });
    const heads = spec.heads || ["", "", "", ""];
    const head = make("tr", heads.map((name, i) => make("th", name, { scope: "col", class: i > 1 ? "number" : null })));
    made.place.append(make("table", [make("thead", [head]), make("tbody", rows)], { class: "bars", "aria-label": spec.title }));
    return made.whole;
  }

  function table(host, spec) {
    const made = tableOf(spec.heads, spec.rows, { "aria-label": spec.title });
    if (spec.title) made.prepend(make("caption", spec.title));
    host.append(made);
    return made;
  }

  function redraw() {
    for (const each of alive) each.rebuild();
  }

  function setTheme(name) {
    if (name) document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    redraw();
  }

  /* Makes a button go through the themes: as the system has it, light, dark. */
  function themes(button) {
    const names = ["", "light", "dark"];
    let at = 0;
    try {
      at = Math.max(0, names.indexOf(localStorage.getItem("backpass-theme") || ""));
    } catch (_) { /* a page that may keep nothing begins as the system has it */ }
    const apply = () => {
      setTheme(names[at]);
      button.textContent = `Theme: ${names[at] || "automatic"}`;
    };
    button.addEventListener("click", () => {
      at = (at + 1) % names.length;
      try {
        localStorage.setItem("backpass-theme", names[at]);
      } catch (_) { /* as above */ }
      apply();
    });
    apply();
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let before = null;
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme || "";
    setTheme("light");
  });
  addEventListener("afterprint", () => setTheme(before));

  return { lines, scatter, histogram, matrix, bars, table, tableOf, themes, redraw, colour, shown, make, figure };
})();
