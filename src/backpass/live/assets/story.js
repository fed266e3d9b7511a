/* Numbers told as what they are the sum of: formulas as tables, the story of a node, the story of a weight. */
import { button, make, numberCell, shown } from "./dom.js";

const TERMS = 8;

export function formulaTable(formula, link) {
  const table = make("table", [make("caption", `${formula.symbol} = ${formula.rule}`)]);
  const body = make("tbody");
  table.append(body);
  const terms = formula.terms.length > 1 || formula.terms[0].factors.length > 1 ? formula.terms : [];
  function rows(count) {
    body.replaceChildren();
    for (const term of terms.slice(0, count)) {
      const factors = term.factors.filter((factor) => factor !== 1);
      const name = link && link(term.of);
      body.append(make("tr", [make("td", name ? button(term.of, name) : term.of),
        make("td", factors.length > 1 ? factors.map((x) => shown(x, 4)).join(" · ") : "", { class: "number factors" }), numberCell(term.value)]));
    }
    const rest = terms.slice(count);
    if (rest.length) {
      const sum = rest.reduce((total, term) => total + term.value, 0);
      body.append(make("tr", [make("td", button(`${rest.length} more`, () => rows(terms.length), { title: "Show all terms" })), make("td"), numberCell(sum)]));
    }
    body.append(make("tr", [make("td", formula.symbol), make("td"), numberCell(formula.value)], { class: "sum" }));
  }
  const some = terms.filter((term) => term.value !== 0).length; // those that are 0 come last, and say little
  rows(terms.length <= some + 1 && terms.length <= TERMS + 1 ? terms.length : Math.max(1, Math.min(some, TERMS)));
  return table;
}

/* One line of a formula: its rule, and the largest terms with their numbers. */
export function formulaLine(formula) {
  const terms = formula.terms.slice(0, 3).map((term) => term.factors.filter((x) => x !== 1).map((x) => shown(x, 3)).join(" · ") || shown(term.value, 3));
  const more = formula.terms.length > 3 ? " + …" : "";
  return `${formula.symbol} = ${formula.rule} = ${terms.join(" + ")}${more} = ${shown(formula.value, 4)}`;
}

export function nodeStory(found, view, mean, weights) {
  const host = make("div", [make("h2", found.node), make("p", `${found.layer}: ${found.kind}`, { class: "faint" })]);
  if (mean) {
    const key = view === "back" ? "error" : "value";
    const rows = found.rows.map((each) => make("tr", [make("td", `row ${each.row}`), numberCell(each.value), numberCell(each.error)]));
    const total = (name) => found.rows.reduce((sum, each) => sum + (each[name] || 0), 0) / found.rows.length;
    rows.push(make("tr", [make("td", "mean"), numberCell(total("value")), numberCell(total("error"))], { class: "sum" }));
    host.append(make("p", `The mean of its ${key}s over the rows of the batch:`),
      make("table", [make("tr", [make("th", "row"), make("th", "value", { class: "number" }), make("th", "error δ", { class: "number" })]), ...rows]));
    return host;
  }
  const order = view === "back" ? ["backward", "forward"] : ["forward", "backward"];
  for (const way of order) {
    if (!found[way].length) continue;
    host.append(make("h3", way === "forward" ? "Forward: its value" : "Backward: its error, from the errors behind it"));
    for (const formula of found[way]) host.append(formulaTable(formula, way === "forward" && formula.symbol === "z" ? weights : null));
  }
  if (found.forward.some((formula) => formula.symbol === "z")) host.append(make("p", "Each term of z is a weight times what comes in: choose one to see why that weight moved.", { class: "faint" }));
  return host;
}

export function weightStory(found, about, show) {
  const change = found.steps.at(-2).value;
  const [from, to] = (found.wire || "").split(" -> "), name = to ? `${from} → ${to}` : found.name;
  const rate = found.rate === null ? [found.optimizer] : [`${found.optimizer} with a learning rate of `, make("span", shown(found.rate), { class: "whole" }), found.schedule ? " in this step" : ""];
  const none = found.slope.value === 0 && found.batch.value !== 0 && found.largest_row !== about.row
    ? make("p", [`This row has no part in it. The largest is that of `, button(`row ${found.largest_row}`, () => show(found.largest_row)), "."], { class: "faint" }) : null;
  const before = found.steps.slice(0, -2), within = before.length
    ? make("details", [make("summary", `on the way: ${before.map((each) => each.symbol).join(", ")}`), ...before.map((each) => formulaTable(each))]) : null;
  const step = make("ol", [
    make("li", [`For row ${about.row}: how the error answers when this weight grows, ∂E/∂w. It is the error δ of the node that the weight leads to, times what came in.`, formulaTable(found.slope), none]),
    make("li", ["For the whole batch: the mean over its rows, the gradient g.", formulaTable(found.batch)]),
    make("li", ["What ", ...rate, " makes of g: the change. It goes against the gradient, so that the error falls.", within, formulaTable(found.steps.at(-2))]),
    make("li", [`The new weight, rounded to ${found.precision}.`, formulaTable(found.steps.at(-1))]),
  ], { class: "steps" });
  return make("div", [
    make("h2", `How one weight changed: ${name}`),
    make("p", found.wire ? `${found.name}: ${from === "bias" ? `the bias of ${to}` : `how much what ${from} gives counts for ${to}`}` : "", { class: "faint" }),
    make("p", found.sentence, { class: "big" }),
    make("p", [`In step ${found.step.toLocaleString("en-US")}, by `, make("strong", `${change > 0 ? "+" : ""}${shown(change)}`, { class: change < 0 ? "minus" : "plus" }), ". In numbers:"]),
    step,
    make("h3", "Why it moved: whose share of the change is how large"),
    formulaTable(found.why),
  ]);
}
