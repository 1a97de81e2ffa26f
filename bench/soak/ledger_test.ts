import { assert, assertEquals } from "@std/assert";
import { Ledger, lineOf, tokenIn } from "./ledger.ts";

const HOST = "127.4.0.1";

/** A ledger that awaits three lines of visit 7. */
function ledgerOfThree(): Ledger {
  const ledger = new Ledger();
  ledger.open("say", 7, HOST);
  for (let i = 0; i < 3; i++) ledger.next("say", 7);
  return ledger;
}

function record(number: number, host = HOST): string {
  return `#1 ${host}:5000 | ${lineOf("say", 7, number, 4)}`;
}

function faultsOf({ lost, doubled, damaged }: Ledger) {
  return { lost, doubled, damaged };
}

Deno.test("tokenIn() reads what lineOf() made", () => {
  const token = { verb: "re", visit: 7, number: 2, isWhole: true } as const;
  assertEquals(tokenIn(`{"message":"${lineOf("re", 7, 2, 3)}"}`), token);
  assertEquals(tokenIn("say v7.2 3 xx"), { ...token, verb: "say", isWhole: false });
  assertEquals(tokenIn("ask v7.2"), undefined);
});

Deno.test("Ledger finds nothing when each line was logged once", () => {
  const ledger = ledgerOfThree();
  for (const number of [0, 1, 2]) ledger.hear(record(number));
  ledger.close("say", 7);
  ledger.giveUp(true);
  assertEquals(faultsOf(ledger), { lost: 0, doubled: 0, damaged: 0 });
  assertEquals(ledger.heard, 3);
});

Deno.test("Ledger counts lines that are missing in the middle and at the end", () => {
  const ledger = ledgerOfThree();
  ledger.hear(record(1));
  assertEquals(ledger.lost, 1);
  ledger.close("say", 7);
  ledger.giveUp(true);
  assertEquals(faultsOf(ledger), { lost: 2, doubled: 0, damaged: 0 });
  assertEquals(ledger.faults.length, 2);
});

Deno.test("Ledger counts lines that were logged again, at once or when all was settled", () => {
  const ledger = ledgerOfThree();
  for (const number of [0, 0, 1, 2]) ledger.hear(record(number));
  ledger.close("say", 7);
  ledger.hear(record(2));
  assertEquals(faultsOf(ledger), { lost: 0, doubled: 2, damaged: 0 });
});

Deno.test("Ledger counts lines that are torn or have the label of somebody else", () => {
  const ledger = ledgerOfThree();
  ledger.hear(record(0).slice(0, -1));
  ledger.hear(record(1, "127.4.0.10"));
  ledger.hear(record(2));
  assertEquals(faultsOf(ledger), { lost: 0, doubled: 0, damaged: 2 });
});

Deno.test("Ledger.whenHeard() settles when all that was sent is logged", async () => {
  const ledger = ledgerOfThree();
  let isHeard = false;
  const heard = ledger.whenHeard("say", 7).then(() => isHeard = true);
  for (const number of [0, 1]) ledger.hear(record(number));
  await Promise.resolve();
  assert(!isHeard);
  ledger.hear(record(2));
  await heard;
});
