import { assertEquals, assertRejects } from "@std/assert";
import { untilTrue } from "../../tests/support/waiting.ts";
import { LostClients, WatchedListener } from "./lost_clients.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test("LostClients tells of a burst at once, and of others a minute later", async () => {
  const said: string[] = [];
  using lost = new LostClients((message) => said.push(message), 0);
  for (let i = 0; i < 3; i++) lost.add();
  await untilTrue(() => said.length > 0);
  assertEquals(said, [
    "earshot: 3 clients were gone before they were accepted: what they sent is lost",
  ]);
  lost.add();
});

Deno.test("LostClients tells of one", async () => {
  const said: string[] = [];
  using lost = new LostClients((message) => said.push(message), 0);
  lost.add();
  await untilTrue(() => said.length > 0);
  assertEquals(said, [
    "earshot: 1 client was gone before it was accepted: what it sent is lost",
  ]);
});

Deno.test("WatchedListener.accept() counts clients that are gone, and no other failures", async () => {
  const { NotConnected, BadResource } = Deno.errors;
  const errors = [new NotConnected("not connected"), new BadResource("closed"), new Error("other")];
  const listener = { accept: () => Promise.reject(errors.shift()) } as unknown as Deno.TcpListener;
  let count = 0;
  using lost = new LostClients(() => {});
  lost.add = () => void count++;
  const watched = new WatchedListener(listener, lost);
  await assertRejects(() => watched.accept(), NotConnected);
  await assertRejects(() => watched.accept(), BadResource);
  await assertRejects(() => watched.accept(), Error, "other");
  assertEquals(count, 1);
});
