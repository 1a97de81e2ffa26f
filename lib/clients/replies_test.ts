import { assertEquals, assertThrows } from "@std/assert";
import { bytesOf, latin1 } from "../../tests/support/data.ts";
import { encode } from "../bytes.ts";
import { parseReplyRule, Replies } from "./replies.ts";

/** What these rules answer to a frame, a character a byte. */
function answer(rules: readonly string[], frame: string): string {
  const bytes = encode(`before${frame}behind`);
  const end = bytes.length - "behind".length;
  return latin1(new Replies(rules.map(parseReplyRule)).answerTo(bytes, "before".length, end));
}

Deno.test("Replies.answerTo() answers every frame when a rule has no pattern", () => {
  assertEquals(answer(["\\x06"], "a"), "\x06");
  assertEquals(answer(["\\x06"], ""), "\x06");
  assertEquals(answer(["é\\n"], ""), latin1(encode("é\n")));
});

Deno.test("Replies.answerTo() gives the answer of the first rule that matches", () => {
  const rules = ["PING=>PONG", "/^id (\\d+)/=>$1!", "ING=>never", "else"];
  assertEquals(answer(rules, "a PING"), "PONG");
  assertEquals(answer(rules, "id 42"), "42!");
  assertEquals(answer(rules, " id 42"), "else");
  assertEquals(answer(rules.slice(0, 2), "what"), "");
});

Deno.test("Replies.answerTo() does not look beyond the frame", () => {
  assertEquals(answer(["before=>1", "behind=>2", "/^x$/=>3"], "x"), "3");
});

Deno.test("Replies.answerTo() excepts a frame by an empty answer", () => {
  assertEquals([answer(["PING=>", "ok"], "PING"), answer(["PING=>", "ok"], "PONG")], ["", "ok"]);
});

Deno.test("parseReplyRule() ends the pattern at the first =>", () => {
  assertEquals(answer(["a=>b=>c"], "a"), "b=>c");
  assertEquals(answer(["=>b=>c"], "anything"), "b=>c");
  assertEquals(answer(["=\\x3e=>yes"], "=>"), "yes");
});

Deno.test("parseReplyRule() puts the groups of a regex into its answer", () => {
  const all = "/(a)(b)(c)(d)(e)(f)(g)(h)(i)/=>$9$8$7$6$5$4$3$2$1";
  assertEquals(answer([all], "abcdefghi"), "ihgfedcba");
  assertEquals(answer(["/(x)(y)?/=>[$1$2$10$$1$0$\\x241\\\\$1]"], "x"), "[xx0$1$0$$1\\x]");
  assertEquals(answer(["/(.)/=>$1"], "é"), latin1(encode("é")));
  assertEquals(
    latin1(new Replies([parseReplyRule("/(.)/=>$1")]).answerTo(bytesOf("\xff"), 0, 1)),
    latin1(encode("\uFFFD")),
  );
});

Deno.test("parseReplyRule() leaves the dollar what it is where the pattern is no regex", () => {
  assertEquals(answer(["a=>$1$$"], "a"), "$1$$");
  assertEquals(answer(["$1$$"], "a"), "$1$$");
  assertEquals(answer(["/dev/x=>$1"], "see /dev/x"), "$1");
});

Deno.test("parseReplyRule() names a wrong escape and a regex that does not compile", () => {
  for (const rule of ["\\q", "a\\q=>b", "a=>\\q", "/(a)/=>$1\\q$1"]) {
    assertThrows(() => parseReplyRule(rule), SyntaxError, '"\\q" is no escape');
  }
  assertThrows(() => parseReplyRule("/(a)/=>\\$1"), SyntaxError, '"\\$" is no escape');
  assertThrows(() => parseReplyRule("/(/=>x"), SyntaxError, "Invalid regular expression");
});
