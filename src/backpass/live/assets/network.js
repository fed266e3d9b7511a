/* The network as a picture, at any step of a run, for one row or the mean of the batch: forward its values, backward its
   errors and what the weights change. */
import { ask, button, drawn, make, place, shown } from "./dom.js";
import { formulaLine, nodeStory, weightStory } from "./story.js";

const NARROW = 24; // nodes of a layer that are drawn as circles; of more they are the cells of a heat map
const HEIGHT = 480, TALL = 560, LEAST = 118, NUMBERED = 30, CHOSEN = 24, LABEL = 96, LETTER = 6.9;
const SPOTS = Array.from({ length: 41 }, (_, k) => 0.1 + 0.02 * k); // along a link, for its number
const TOUCH = 30; // square pixels that a number may lie over others

/* A colour of the style sheet as it is now, as three numbers. */
function tint(name) {
  const probe = make("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
  probe.remove();
  return found;
}

export function network(panel, page) {
  let found = null, view = "forward", mean = false, chosen = null, asked = 0, follows = true, links = [], last = 0, busy = false;
  const cache = new Map();
  const say = make("p", "", { class: "faint", role: "status" });
  const intro = make("p", null, { id: "intro" });
  const slider = make("input", null, { type: "range", min: 1, max: 1, value: 1, "aria-label": "Step" });
  const number = make("input", null, { type: "number", min: 1, value: 1, id: "at-step" });
  const rows = make("select", null, { id: "of-row" }), members = make("select", null, { id: "of-member" });
  const epoch = make("span", "", { class: "faint" });
  const ways = ["forward", "back"].map((way) => make("label", [make("input", null, { type: "radio", name: "view", value: way, change: () => look({ view: way }) }),
    way === "forward" ? "feed-forward: values" : "back-propagation: errors and changes"]));
  const follow = make("label", [make("input", null, { type: "checkbox", checked: true, id: "follow", change: (event) => { follows = event.target.checked; if (follows) newest(); } }), "follow the newest step"]);
  const picture = drawn("svg", { class: "network", role: "group", "aria-label": "The network. Arrow keys move from node to node, Enter opens one." });
  const story = make("section", null, { id: "story", "aria-live": "polite" });
  const moved = make("section", null, { id: "moved" }), heat = make("section", null, { id: "heat" });
  const tip = make("div", null, { class: "tip", role: "tooltip", hidden: true });
  const held = make("p", null, { class: "faint" });
  const controls = [
    make("div", [make("span", "Step"), button("First", () => go(1)), button("◂", () => go(step() - 1), { "aria-label": "One step back" }), slider,
      button("▸", () => go(step() + 1), { "aria-label": "One step on" }), button("Newest", newest), number, epoch], { class: "row", id: "steps" }),
    make("div", [make("fieldset", [make("legend", "View"), ...ways]), make("label", ["Row ", rows]), make("label", ["Network ", members], { id: "member" }), follow], { class: "row" })];
  const aside = make("div", [make("section", [picture], { class: "stays" }), story], { class: "aside" });
  panel.append(make("section", [...controls, held, say, intro]), aside, moved, heat, tip);
  slider.addEventListener("input", () => { number.value = slider.value; clearTimeout(asked); asked = setTimeout(() => go(Number(slider.value)), 150); });
  number.addEventListener("change", () => go(Number(number.value)));
  rows.addEventListener("change", () => look(rows.value === "mean" ? { mean: true } : { row: rows.value, mean: false }));
  members.addEventListener("change", () => look({ member: members.value }));
  new ResizeObserver(() => found && draw()).observe(picture.parentElement);
  clear();

  function step() { return Number(place.read().step) || (page.run() || {}).steps || 1; }
  function newestStep() { const run = page.run(); return run ? run.steps + (run.steered && run.state === "training" ? 1 : 0) : 0; }

  function go(to) {
    const end = newestStep();
    const at = Math.max(1, Math.min(end, Math.round(to) || 1));
    if (at !== end) { follows = false; follow.firstChild.checked = false; }
    place.write({ step: at, held: null, row: null });
    fetchStep();
  }
  function newest() { follows = true; follow.firstChild.checked = true; place.write({ step: null, held: null, row: null }); fetchStep(); }

  function look(changes) {
    if (changes.view) { view = changes.view; place.write({ view }); }
    if (changes.mean !== undefined) { mean = changes.mean; place.write({ mean: mean ? 1 : null }); }
    if (changes.row || changes.member) { place.write({ row: changes.row || place.read().row || null, member: changes.member || place.read().member || null }); return fetchStep(); }
    draw();
    return tellChosen();
  }

  function query() {
    const at = place.read();
    if (at.held) return { run: page.chosen, row: at.row, member: at.member };
    return { run: page.chosen, step: at.step || newestStep(), row: at.row, member: at.member };
  }

  /* What has nothing to show or to choose from is not there. */
  function reveal(there) { for (const each of [...controls, aside, moved]) each.hidden = !there; }

  /* What was shown goes where there is nothing to show: of another table, say. */
  function clear() {
    reveal(false);
    found = chosen = null;
    picture.replaceChildren();
    picture.removeAttribute("viewBox");
    for (const each of [story, moved, heat]) each.replaceChildren();
    intro.textContent = held.textContent = epoch.textContent = "";
    heat.hidden = true;
  }

  async function fetchStep() {
    const run = page.run();
    if (!run || !newestStep()) {
      clear();
      say.textContent = run ? "No step is saved yet: the picture comes with the first." : "Nothing is trained yet: press Train.";
      return;
    }
    if (busy) { busy = "again"; return; }
    busy = true;
    const asking = query(), began = performance.now();
    say.textContent = asking.step ? `replaying step ${Number(asking.step).toLocaleString("en-US")} …` : "calculating …";
    try {
      found = await ask("step", asking);
      found.query = { ...asking, row: found.row, member: found.member };
      found.key = run.key;
      found.picked = !asking.row;
      cache.clear();
      say.textContent = "";
      reveal(true);
      set();
      draw();
      await tellChosen();
    } catch (error) {
      say.textContent = error.message;
    }
    last = performance.now();
    const again = busy === "again";
    fetchStep.wait = Math.max(2000, 50 * (last - began)); // a fiftieth of the time, at most
    busy = false;
    if (again) fetchStep();
  }

  function set() {
    const end = newestStep(), at = place.read();
    slider.max = number.max = String(Math.max(end, found.step));
    slider.value = number.value = String(found.step);
    slider.setAttribute("aria-valuetext", `step ${found.step}, epoch ${found.epoch}`);
    epoch.textContent = `of ${end.toLocaleString("en-US")}; epoch ${found.epoch}, its batch ${found.batch}`;
    held.textContent = at.held ? `Row ${found.row} is shown as if one more step were made, with it alone: the weights are those of the network that was kept.` : "";
    rows.replaceChildren(make("option", "mean of the batch", { value: "mean" }), ...found.rows.map((row) => make("option", `row ${row}`, { value: String(row) })));
    rows.value = mean ? "mean" : String(found.row);
    panel.querySelector("#member").hidden = found.members < 2;
    members.replaceChildren(...Array.from({ length: found.members }, (_, i) => make("option", `${i + 1} of ${found.members}`, { value: String(i + 1) })));
    members.value = String(found.member);
    for (const way of ways) way.firstChild.checked = way.firstChild.value === view;
    const desired = Object.entries(found.desired).map(([name, value]) => `${name} is ${value}`).join(", ");
    const scaled = Object.entries(found.scalings), name = (each) => each.name.replace(/^.*\[(.*)\]$/, "$1");
    const answers = found.answers.length === 1 ? found.answers.map((each) => `${name(each)}: ${shown(each.answer)}, where ${shown(each.desired)} is desired${scaled.length ? ` (${scaled[0][1]})` : ""}`)[0]
      : found.answers.slice(0, 6).map((each) => `${name(each)} ${shown(each.answer)}`).join(", ");
    const picked = found.picked && found.rows.length > 1 ? " (of the batch the one with the largest share in what moved most)" : "";
    intro.textContent = `Row ${found.row}${picked}: ${desired || "the target"}; the network says ${answers}. ${found.members > 1 ? `The loss of network ${found.member} is ${shown(found.loss.member)}, the row's, the mean of the ${found.members} networks, ${shown(found.loss.row)}` : `Its loss is ${shown(found.loss.row)}`}; the mean over the ${found.rows.length} rows of the batch is ${shown(found.loss.batch)}. ` +
      "Choose a node for its formula, a link for why its weight moved in this step.";
    moved.replaceChildren(make("h2", "The weights that moved most in this step"),
      make("div", [make("table", [make("tr", ["weight", "before", "after", "change"].map((name, i) => make("th", name, { class: i ? "number" : null }))),
        ...found.moved.map((each) => make("tr", [make("td", button((each.wire || each.name).replace(" -> ", " → "), () => choose({ weight: each.name }), { title: each.name })),
          ...[each.before, each.after, each.change].map((value) => make("td", shown(value), { class: `number ${value < 0 ? "minus" : ""}` }))]))])], { class: "wide" }));
    heatMaps();
    if (!chosen || (chosen.weight && !found.parameters.some((each) => chosen.weight.startsWith(each.name)))) chosen = found.moved.length ? { weight: found.moved[0].name } : null;
  }

  /* Where a name stands: the nearest column on one side of a layer's. */
  function find(name, column, way) {
    for (let at = column + way; at >= 0 && at < found.layers.length; at += way) {
      const row = found.layers[at].nodes.indexOf(name);
      if (row >= 0) return [at, row];
    }
    return null;
  }

  function numbersOf(layer) {
    if (view === "back") return (mean ? layer.mean_errors : layer.errors) || layer.nodes.map(() => null);
    return mean ? layer.mean_values : layer.values;
  }

  /* Where each node stands: columns of circles, and heat maps of wide layers, with as much room for links between any two. */
  let spots = [], height = HEIGHT;
  function layout(width) {
    const counts = found.layers.map((layer) => layer.nodes.length), narrow = counts.map((count) => count <= NARROW);
    height = narrow.every(Boolean) ? Math.max(220, Math.min(HEIGHT, 46 * Math.max(...counts) + 40)) : TALL;
    const left = narrow[0] ? Math.min(150, 0.28 * width, 28 + 7 * Math.max(...found.layers[0].nodes.map((name) => name.length))) : 10, right = narrow.at(-1) ? LABEL : 10;
    const room = width - left - right - 54 * (counts.length - 1), maps = narrow.filter((each) => !each).length;
    const sizes = counts.map((count) => {
      const side = Math.min(18, Math.sqrt((Math.max(70, room / (maps || 1)) * (height - 60)) / count)), high = Math.floor((height - 50) / side);
      return { side, wide: Math.ceil(count / high) };
    });
    const widths = sizes.map(({ side, wide }, column) => (narrow[column] ? 0 : side * wide));
    const gap = (width - left - right - widths.reduce((a, b) => a + b, 0)) / Math.max(1, counts.length - 1);
    let x = left;
    spots = found.layers.map((layer, column) => {
      const count = counts[column], start = x, { side, wide } = sizes[column];
      x += widths[column] + gap;
      if (narrow[column]) {
        const pitch = Math.min(46, (height - 30) / count), top = 26 + (height - 30 - pitch * count) / 2;
        return { narrow: true, radius: Math.max(4, Math.min(13, pitch * 0.36)), pitch, middle: start, at: layer.nodes.map((_, row) => [start, top + pitch * (row + 0.5)]) };
      }
      const top = 26 + (height - 40 - Math.ceil(count / wide) * side) / 2;
      return { narrow: false, side, wide, middle: start + widths[column] / 2, at: layer.nodes.map((_, row) => [start + (row % wide + 0.5) * side, top + (Math.floor(row / wide) + 0.5) * side]) };
    });
  }

  function draw() {
    if (!found) return;
    const width = Math.max(picture.parentElement.clientWidth - 34, LEAST * found.layers.length, 300);
    layout(width);
    picture.setAttribute("viewBox", `0 0 ${width} ${height + 12}`);
    picture.style.minWidth = `${Math.min(width, LEAST * found.layers.length)}px`;
    const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.node : null;
    picture.replaceChildren();
    collectLinks();
    taken = [];
    drawLinks(false);
    found.layers.forEach(drawLayer);
    drawLinks(true);
    drawLabels();
    if (focused) picture.querySelector(`[data-node="${CSS.escape(focused)}"]`)?.focus();
  }

  function drawLayer(layer, column) {
    const { at, narrow, radius, side } = spots[column], numbers = numbersOf(layer);
    const most = Math.max(...numbers.map((value) => Math.abs(value || 0)), 1e-300), word = view === "back" ? "error" : "value";
    picture.append(drawn("text", { class: "name", x: spots[column].middle, y: 14 }, `${layer.name}${layer.size > layer.nodes.length ? ` (${layer.nodes.length} of ${layer.size})` : ""}`));
    layer.nodes.forEach((name, row) => {
      const value = numbers[row], [x, y] = at[row], key = `${column} ${row}`;
      const here = chosen && chosen.column === column && chosen.row === row;
      const end = (chosen && chosen.weight === `${layer.name}.bias[${layer.places ? layer.places[row] : row}]`) || links.some((link) => chosen && link.name === chosen.weight && [link.from, link.to].some(([c, r]) => c === column && r === row));
      const shape = narrow ? drawn("circle", { cx: x, cy: y, r: radius }) : drawn("rect", { x: x - side / 2, y: y - side / 2, width: side, height: side });
      shape.style.fill = value === null ? "var(--card)" : `color-mix(in srgb, var(--${value < 0 ? "minus" : "plus"}) ${Math.round(70 * Math.abs(value) / most)}%, var(--card))`;
      const label = `${name}: ${value === null ? `no ${word}` : `${word} ${shown(value)}`}${layer.raw ? `, ${layer.raw[row]}` : ""}`;
      const group = drawn("g", { class: `node${here ? " here" : end ? " end" : ""}${narrow ? "" : " cell"}`, tabindex: column === 0 && row === 0 ? 0 : -1, role: "button", "aria-label": label, "data-node": key }, [shape]);
      if (narrow && spots[column].pitch >= 15) {
        const short = column === 0 ? name : name.replace(/^.*\[(.*)\]$/, "$1");
        const first = column === 0, dx = (radius + 4) * (first ? -1 : 1);
        const two = spots[column].pitch >= 26, long = first ? x - radius - 6 : LABEL - radius - 6, room = Math.max(5, Math.floor(long / LETTER));
        group.prepend(drawn("rect", { class: "room", x: first ? x - radius - long : x - radius, y: y - spots[column].pitch / 2, width: 2 * radius + (column && column < found.layers.length - 1 ? 34 : long), height: spots[column].pitch }));
        taken.push([x - radius, y - radius, x + radius, y + radius]);
        const text = (content, dy) => {
          const start = x + dx - (first ? LETTER * content.length : 0);
          taken.push([start, y + dy - 11, start + LETTER * content.length, y + dy + 4]);
          group.append(drawn("text", { x: x + dx, y: y + dy, "text-anchor": first ? "end" : "start" }, content));
        };
        if (two && value !== null) text(short.length > room ? `${short.slice(0, room - 1)}…` : short, -3);
        if (two || value !== null) text(value === null ? (short.length > room ? `${short.slice(0, room - 1)}…` : short) : shown(value, 3), two && value !== null ? 11 : 4);
      } else if (!narrow && value < 0 && side >= 8) {
        group.append(drawn("text", { x, y: y + 3.5, "text-anchor": "middle" }, "–"));
      }
      group.addEventListener("click", () => choose({ column, row }));
      group.addEventListener("keydown", (event) => move(event, column, row));
      group.addEventListener("pointerenter", (event) => hover(event.clientX, event.clientY, label, column, row));
      group.addEventListener("pointerleave", unhover);
      group.addEventListener("focus", () => { const box = group.getBoundingClientRect(); if (group.matches(":focus-visible")) hover(box.right, box.bottom, label, column, row); });
      group.addEventListener("blur", unhover);
      picture.append(group);
    });
  }

  function move(event, column, row) {
    const layers = found.layers;
    const to = { ArrowUp: [column, row - 1], ArrowDown: [column, row + 1], ArrowLeft: [column - 1, row], ArrowRight: [column + 1, row] }[event.key];
    if (event.key === "Enter" || event.key === " ") choose({ column, row });
    else if (to) {
      const c = Math.max(0, Math.min(layers.length - 1, to[0])), r = Math.max(0, Math.min(layers[c].nodes.length - 1, to[1]));
      const next = picture.querySelector(`[data-node="${c} ${r}"]`);
      for (const each of picture.querySelectorAll('[tabindex="0"]')) each.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /* All links between two narrow layers; of wide ones the largest, and those that the chosen node has most of. */
  function collectLinks() {
    links = [];
    for (const parameter of found.parameters) {
      const column = found.layers.findIndex((layer) => layer.name === parameter.layer);
      if (parameter.shape.length !== 2 || column < 1) continue;
      const layer = found.layers[column], quantity = view === "back" ? "change" : "before";
      if (parameter.links) {
        const some = parameter.links.map(([i, j, before, change]) => ({ i, j, value: view === "back" ? change : before }));
        some.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
        for (const { i, j, value } of some.slice(0, 20)) {
          const from = find(layer.given[i], column, -1), at = layer.places.indexOf(j);
          if (from && at >= 0) links.push({ from, to: [column, at], value, name: `${parameter.name}[${i},${j}]` });
        }
        continue;
      }
      layer.given.forEach((name, i) => {
        const from = find(name, column, -1);
        if (from && i < parameter.shape[0]) layer.places.forEach((place_, j) => links.push({ from, to: [column, j], value: parameter[quantity][i][place_], name: `${parameter.name}[${i},${place_}]` }));
      });
    }
    if (chosen && chosen.terms) links = links.filter((link) => !chosen.terms.some((term) => term.name === link.name)).concat(chosen.terms);
    if (chosen && chosen.weight && !links.some((link) => link.name === chosen.weight)) {
      const link = linkOf(chosen.weight);
      if (link) links.push(link);
    }
  }

  /* The link of a weight that is not among those drawn, by its name: hidden_2.weight[3,17]. */
  function linkOf(name) {
    const [, of, i, j] = /^(.*)\[(\d+),(\d+)\]$/.exec(name) || [], parameter = found.parameters.find((each) => each.name === of && each.shape.length === 2);
    const column = parameter ? found.layers.findIndex((layer) => layer.name === parameter.layer) : -1;
    if (column < 1) return null;
    const from = find(found.layers[column].given[i], column, -1), at = found.layers[column].places.indexOf(Number(j));
    return from && at >= 0 ? { from, to: [column, at], value: null, name } : null;
  }

  const isOf = (link) => chosen && ((chosen.weight && chosen.weight === link.name) || [link.from, link.to].some(([c, r]) => c === chosen.column && r === chosen.row));

  /* Those of what is chosen that end in heat maps lie over these, all others under the nodes. */
  const isNarrow = (link) => spots[link.from[0]].narrow && spots[link.to[0]].narrow;
  let labels = [], taken = []; // taken: boxes of nodes, of what stands beside them, and of labels
  function drawLinks(over) {
    if (!over) labels = [];
    const most = Math.max(...links.map((link) => Math.abs(link.value || 0)), 1e-300);
    const order = (link) => Number(Boolean(isOf(link)));
    for (const link of links.filter((each) => Boolean(isOf(each) && !isNarrow(each)) === over).sort((a, b) => order(a) - order(b))) {
      const ofChosen = Boolean(isOf(link)), from = spots[link.from[0]], to = spots[link.to[0]];
      let [x1, y1] = from.at[link.from[1]], [x2, y2] = to.at[link.to[1]];
      const long = Math.hypot(x2 - x1, y2 - y1) || 1, [dx, dy] = [(x2 - x1) / long, (y2 - y1) / long];
      if (from.narrow) { x1 += dx * from.radius; y1 += dy * from.radius; }
      if (to.narrow) { x2 -= dx * to.radius; y2 -= dy * to.radius; }
      const size = Math.abs(link.value || 0) / most;
      const path = drawn("line", { x1, y1, x2, y2, class: `link ${link.value < 0 ? "minus" : "plus"}`, "stroke-width": (0.3 + 4 * size).toFixed(2) });
      path.style.strokeOpacity = chosen && !ofChosen ? 0.35 : 0.9;
      path.style.pointerEvents = "none";
      if (chosen && chosen.weight === link.name) { path.style.stroke = "var(--here)"; path.style.strokeWidth = from.narrow && to.narrow ? "4px" : "2.5px"; }
      picture.append(path);
      if (link.name && !over) {
        const words = `${link.name}: ${view === "back" ? "change" : "weight"} ${shown(link.value)}`;
        picture.append(drawn("line", { x1, y1, x2, y2, class: "hit", "data-weight": link.name, click: () => choose({ weight: link.name }),
          pointerenter: (event) => hover(event.clientX, event.clientY, `${words}. Choose it to see why it moved.`), pointerleave: unhover }));
      }
      if (link.value !== null && from.narrow && to.narrow && (ofChosen || (links.length <= NUMBERED && !chosen))) {
        const far = chosen && link.from[0] === chosen.column && link.from[1] === chosen.row; // the ends stand apart there
        const part = far ? 0.74 : chosen && !chosen.weight ? 0.34 : 0.55;
        labels.push({ at: (along) => [x1 + (x2 - x1) * along, y1 + (y2 - y1) * along], part, text: shown(link.value, 2), ofChosen });
      }
    }
  }

  /* What stands beside links lies over all of these, on paper of its own, where it hides least; what is chosen has the
     first choice. Where there is no room for a number it is left out: the story beside the picture has it. */
  function drawLabels() {
    const groups = [];
    for (const { at, part, text } of labels.sort((a, b) => Number(b.ofChosen) - Number(a.ofChosen))) {
      const half = (7 * text.length + 6) / 2;
      const hidden = ([x, y]) => taken.reduce((sum, [left, top, right, bottom]) => sum + Math.max(0, Math.min(x + half, right) - Math.max(x - half, left)) * Math.max(0, Math.min(y + 7, bottom) - Math.max(y - 9, top)), 0);
      const spot = SPOTS.slice().sort((a, b) => Math.abs(a - part) - Math.abs(b - part)).map(at).reduce((best, each) => (hidden(each) < hidden(best) ? each : best));
      if (chosen && hidden(spot) > TOUCH) continue;
      const [x, y] = spot;
      taken.push([x - half, y - 9, x + half, y + 7]);
      groups.unshift(drawn("g", { class: "label" }, [drawn("rect", { x: x - half, y: y - 9, width: 2 * half, height: 16, rx: 4 }), drawn("text", { x, y: y + 3, "text-anchor": "middle" }, text)]));
    }
    picture.append(...groups);
  }

  function hover(x, y, label, column, row) {
    tip.textContent = label;
    tip.hidden = false;
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - tip.offsetHeight - 8))}px`;
    if (!column || mean) return;
    const mine = (hover.last = {});
    setTimeout(async () => {
      if (hover.last !== mine || tip.hidden) return;
      try {
        const told = await nodeOf(column, row);
        if (hover.last === mine) tip.replaceChildren(make("strong", label), ...told[view === "back" ? "backward" : "forward"].map((each) => make("div", formulaLine(each))));
      } catch { /* the label stands */ }
    }, 120);
  }
  function unhover() { hover.last = null; tip.hidden = true; }

  function nodeOf(column, row) {
    const layer = found.layers[column], key = `${column} ${row}`;
    if (!cache.has(key)) cache.set(key, ask("node", { ...found.query, layer: layer.name, place: layer.places[row] }));
    return cache.get(key);
  }

  function choose(what) {
    chosen = what;
    unhover();
    draw();
    return tellChosen();
  }

  /* An answer about what was chosen; null where something else has been chosen since, or there is none. */
  async function asking(mine, question) {
    try {
      const told = await question();
      return chosen === mine ? told : null;
    } catch (error) {
      if (chosen === mine) story.replaceChildren(make("p", error.message, { class: "minus", role: "alert" }));
      return null;
    }
  }

  async function tellChosen() {
    if (!found || !chosen) return;
    const mine = chosen;
    if (chosen.weight) {
      const told = await asking(mine, () => ask("weight", { ...found.query, name: mine.weight }));
      if (told) story.replaceChildren(weightStory(told, found, (row) => look({ row, mean: false })));
      return;
    }
    const layer = found.layers[chosen.column];
    if (!layer || chosen.row >= layer.nodes.length) { chosen = null; return; }
    if (chosen.column === 0) {
      story.replaceChildren(make("h2", layer.nodes[chosen.row]), make("p", `In the table: ${layer.raw[chosen.row]}.`),
        make("p", `The network is given ${shown(layer.values[chosen.row])}; the mean over the batch is ${shown(layer.mean_values[chosen.row])}.`));
      return;
    }
    const told = await asking(mine, () => nodeOf(mine.column, mine.row));
    if (!told) return;
    const parameter = found.parameters.find((each) => each.layer === layer.name && each.shape.length === 2);
    const weights = (of) => {
      const i = layer.given.indexOf(of);
      if (of === "bias") return () => choose({ weight: `${layer.name}.bias[${layer.places[mine.row]}]` });
      return parameter && i >= 0 ? () => choose({ weight: `${parameter.name}[${i},${layer.places[mine.row]}]` }) : null;
    };
    story.replaceChildren(nodeStory(told, view, mean, weights));
    mine.terms = termsOf(told, mine, layer, parameter);
    draw();
  }

  /* The links of a node in wide layers, which are not all drawn. */
  function termsOf(told, at, layer, parameter) {
    const formula = view === "back" ? told.backward[0] : told.forward[0];
    if (!formula || formula.terms.length < 2) return [];
    return formula.terms.slice(0, CHOSEN).map((term) => {
      const other = find(term.of, at.column, view === "back" ? 1 : -1);
      if (!other) return null;
      const i = layer.given.indexOf(term.of);
      if (view === "back") return { from: [at.column, at.row], to: other, value: term.value, name: "" };
      return { from: other, to: [at.column, at.row], value: term.factors[0], name: parameter && i >= 0 ? `${parameter.name}[${i},${layer.places[at.row]}]` : "" };
    }).filter(Boolean);
  }

  /* Weights of wide layers as pictures, a cell a weight. */
  function heatMaps() {
    const wide = found.parameters.filter((each) => each.shape.length === 2 && !each.before);
    heat.hidden = !wide.length;
    heat.replaceChildren(make("h2", "Weights of wide layers"), make("p", `A cell is a weight: across, the node it leads to; down, what it comes from. Shown is ${view === "back" ? "its change in this step" : "its value before the step"}. Choose a cell for why it moved; the table above lists those that moved most.`, { class: "faint" }),
      make("div", wide.map((each) => {
        const canvas = make("canvas", null, { class: "matrixplot", width: each.shape[1], height: each.shape[0], role: "img",
          "aria-label": `${each.name}, ${each.shape.join(" by ")}: largest ${shown(each.largest[view === "back" ? "change" : "before"])}` });
        const cell = Math.max(1, Math.min(14, 320 / each.shape[0], 560 / each.shape[1]));
        canvas.style.width = `${cell * each.shape[1]}px`;
        canvas.style.height = `${cell * each.shape[0]}px`;
        paint(canvas, each);
        canvas.addEventListener("click", (event) => {
          const box = canvas.getBoundingClientRect();
          const j = Math.floor(((event.clientX - box.left) / box.width) * each.shape[1]), i = Math.floor(((event.clientY - box.top) / box.height) * each.shape[0]);
          choose({ weight: `${each.name}[${Math.min(i, each.shape[0] - 1)},${Math.min(j, each.shape[1] - 1)}]` });
        });
        return make("figure", [make("figcaption", `${each.name}, ${each.shape.join(" × ")}`), canvas]);
      }), { class: "maps" }));
  }

  async function paint(canvas, parameter) {
    if (parameter.shape[0] * parameter.shape[1] > 4e6) return;
    const what = view === "back" ? "change" : "before";
    try {
      const values = new Float32Array(await (await ask("matrix", { ...found.query, name: parameter.name, what })).arrayBuffer());
      const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
      const most = parameter.largest[what] || 1, [paper, plus, minus] = ["card", "plus", "minus"].map(tint);
      values.forEach((value, k) => {
        const part = Math.min(1, Math.sqrt(Math.abs(value) / most)), to = value < 0 ? minus : plus;
        for (let c = 0; c < 3; c += 1) image.data[4 * k + c] = paper[c] + (to[c] - paper[c]) * part;
        image.data[4 * k + 3] = 255;
      });
      context.putImageData(image, 0, 0);
    } catch (error) {
      say.textContent = error.message;
    }
  }

  return {
    show(changes) {
      const at = place.read();
      view = at.view === "back" ? "back" : "forward";
      mean = Boolean(at.mean);
      if (at.step || at.held) { follows = false; follow.firstChild.checked = false; }
      if (changes.weight) chosen = { weight: changes.weight };
      follow.hidden = !(page.run() && page.run().steered);
      fetchStep();
    },
    news() {
      const run = page.run();
      if (!run) {
        if (found) fetchStep();
        return;
      }
      follow.hidden = !run.steered;
      slider.max = number.max = String(Math.max(1, newestStep()));
      if (!follows || busy) return;
      if (!found || found.key !== run.key) return void fetchStep();
      if (!run.steered || run.state !== "training") {
        if (newestStep() && found.step !== newestStep() && !place.read().step) fetchStep();
      } else if (performance.now() - last > fetchStep.wait) {
        last = performance.now();
        page.steer("save").then(() => setTimeout(() => { place.write({ step: null }); fetchStep(); }, 300));
      }
    },
    theme: () => found && heatMaps(),
  };
}
