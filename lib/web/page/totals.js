/**
 * Figures of all clients together, and the rate of all as a chart.
 *
 * @module
 */

import { curve } from "./clients.js";
import { $, setText } from "./dom.js";
import { count, pace, size } from "./text.js";

const RATE_SECONDS = 60;

let rates = [];
let last;

/** Takes the figures of now; with `minute` those of a snapshot. */
export function takeTotals(totals, minute) {
  const heard = totals.lines + totals.datagrams;
  if (minute) rates = [...minute];
  else if (last !== undefined) rates.push(Math.max(0, heard - last));
  rates.splice(0, rates.length - RATE_SECONDS);
  last = heard;
  setText($("open"), count(totals.open));
  setText($("lines"), count(heard));
  setText($("bytes"), size(totals.bytes));
  setText($("pace"), pace(rates.at(-1) ?? 0));
  const line = curve(rates, RATE_SECONDS, 30);
  $("rate").querySelector(".line").setAttribute("d", line);
  const left = RATE_SECONDS - rates.length + 1;
  $("rate").querySelector(".area").setAttribute("d", line && `${line}V30H${left}Z`);
}

export function forgetTotals() {
  rates = [];
  last = undefined;
}
