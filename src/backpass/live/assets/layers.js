/* The layers over the steps of a run: what they pass on, their errors, gradients and weights, and nodes that do nothing. */
import { ask, button, during, make } from "./dom.js";

const TINT = ["series-1", "series-2", "series-3", "series-4", "series-5", "series-6"];

export function layers(panel, page) {
  let key = "";
  const host = make("div", null, { class: "stack" }), none = make("p", "Nothing is trained yet: press Train.", { class: "faint" }), start = make("section", [
    make("p", "Values, errors, gradients and weights of every layer at some steps of the run, which are made again for it. That may take as long as the training took."),
    button("Look at the layers", () => load(true), { id: "look-at-layers" })]);
  panel.append(none, start, host);

  async function load(now) {
    const run = page.run();
    none.hidden = Boolean(run);
    start.hidden = !run;
    if (!run || (!now && key !== run.key)) { host.replaceChildren(); return; }
    if (!now) return;
    key = run.key;
    const found = await during(host, "making some steps again …", () => ask("layers", { run: page.chosen }));
    if (!found) { key = ""; return; }
    if (!found.steps.length) { host.replaceChildren(make("p", "No step is saved yet.")); return; }
    start.querySelector("button").textContent = "Look again";
    const grid = make("div", null, { class: "grid" });
    host.append(make("p", `By ${found.rows} rows of those trained on, at ${found.steps.length} steps${found.all ? "" : " (of so long a training those after a checkpoint)"}.`, { class: "faint" }), grid);
    const x = found.steps.map((each) => each.step), [first] = found.steps;
    const names = Object.keys(first.layers), weights = Object.keys(first.parameters).filter((name) => !name.endsWith("bias"));
    const lines = (title, told, keys, value, log) => {
      const section = make("section");
      grid.append(section);
      charts.lines(section, { title, told, x: { label: "step", values: x }, y: { label: "", log }, series: keys.map((name, i) => ({ label: name, values: found.steps.map((each) => value(each, name)), marks: true, colour: TINT[i % 6] })) });
    };
    lines("Errors", "the median size of δ in each layer: where it shrinks from layer to layer, errors vanish", names, (each, name) => each.layers[name].size || null, true);
    lines("Gradients", "the norm of the gradient of each layer's weights", weights, (each, name) => each.parameters[name].gradient || null, true);
    lines("Update to weight", "how large a step's change is beside the weights themselves; about 0.001 is usual", weights, (each, name) => each.parameters[name].ratio || null, true);
    const idle = names.filter((name) => ["dead", "saturated"].some((kind) => kind in first.layers[name]));
    if (idle.length) lines("Dead and saturated nodes", "nodes of each layer that are 0 for every row (relu), or at an end of their curve for nearly all (sigmoid, tanh)", idle, (each, name) => each.layers[name].dead ?? each.layers[name].saturated);
    host.append(make("p", "How values, errors, gradients and weights are spread in each layer: half lie in the band, 9 in 10 between the dotted lines; the line within is the median.", { class: "faint" }));
    for (const name of names) ofLayer(name, found.steps, x);
    for (const name of weights.filter((each) => !names.some((layer) => each === `${layer}.weight`))) ofLayer(name, found.steps, x);
  }

  /* A layer's distributions side by side; `name` may be that of a parameter which belongs to no layer of nodes. */
  function ofLayer(name, steps, x) {
    const small = make("div", null, { class: "small" }), weight = name in steps[0].layers ? `${name}.weight` : name;
    host.append(make("section", [make("h2", name), small]));
    const spread = (title, quantiles) => {
      const place = make("div");
      small.append(place);
      const series = ["5 %", "25 %", "median", "75 %", "95 %"].map((label, k) => ({ label, values: quantiles.map((each) => each[k]), colour: k === 2 ? "series-2" : "series-1", dash: [[2, 3], [6, 3], [], [6, 3], [2, 3]][k] }));
      charts.lines(place, { title, height: 170, legend: false, x: { label: "step", bare: true, values: x }, y: { label: "" }, bands: [{ series: [4, 2] }], series });
    };
    if (name in steps[0].layers) for (const what of ["values", "errors"]) spread(what, steps.map((each) => each.layers[name][what]));
    if (weight in steps[0].parameters) for (const what of ["gradients", "weights"]) spread(what, steps.map((each) => each.parameters[weight][what]));
  }

  return { show: () => load(false), news() {} };
}
