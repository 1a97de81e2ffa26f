import { assertEquals } from "@std/assert";
import { decode, encode } from "../bytes.ts";
import { bytesOf, latin1 } from "../../tests/support/data.ts";
import { type FrameSink, PartialFrame } from "./partial_frame.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Frames as text; what is not whole ends in "+". */
function sinkOf(frames: string[], text: (bytes: Uint8Array) => string = decode): FrameSink {
  return {
    frame(bytes, start, end, isWhole) {
      frames.push(text(bytes.subarray(start, end)) + (isWhole ? "" : "+"));
    },
  };
}

function held(maxBytes: number, keepsCharacters = true) {
  const frames: string[] = [];
  const partial = new PartialFrame({ maxBytes, keepsCharacters });
  const sink = sinkOf(frames, keepsCharacters ? decode : latin1);
  return {
    partial,
    frames,
    hold: (text: string, spare = 0) => {
      const bytes = keepsCharacters ? encode(text) : bytesOf(text);
      partial.hold(bytes, 0, bytes.length, spare, sink);
    },
    finish: (text: string) => partial.finishLine(encode(text), 0, encode(text).length, sink),
    flush: () => partial.flush(partial.flushable, sink),
    end: () => partial.end(sink),
  };
}

Deno.test("PartialFrame gives a frame in one piece, however it came", () => {
  const { partial, frames, hold, finish } = held(100);
  for (const character of "hello ") hold(character);
  finish("world");
  assertEquals([frames, partial.length], [["hello world"], 0]);
});

Deno.test("PartialFrame leaves out the CR of CR LF, also where it is held already", () => {
  const { frames, hold, finish } = held(100);
  finish("at once\r");
  hold("held\r");
  finish("");
  hold("in the middle\r");
  finish("of a line");
  assertEquals(frames, ["at once", "held", "in the middle\rof a line"]);
});

Deno.test("PartialFrame cuts what is longer than it may be, not counting what is spare", () => {
  const { partial, frames, hold, end } = held(4);
  hold("12345", 1);
  assertEquals([frames, partial.length], [[], 5]);
  hold("678");
  assertEquals([frames, partial.length], [["1234+"], 4]);
  end();
  assertEquals(frames, ["1234+", "5678+"]);
});

Deno.test("PartialFrame cuts before a character rather than in it", () => {
  const { frames, hold, end } = held(4);
  hold("abcé€𝄞");
  end();
  assertEquals(frames, ["abc+", "é+", "€+", "𝄞+"]);
});

Deno.test("PartialFrame cuts anywhere where bytes are no characters", () => {
  const { frames, hold, end } = held(4, false);
  hold("abc\xC3\xA9");
  end();
  assertEquals(frames, ["abc\xC3+", "\xA9+"]);
});

Deno.test("PartialFrame.flush() leaves a character that has not come whole", () => {
  const { partial, frames } = held(100);
  const sink = sinkOf(frames);
  partial.hold(bytesOf("prompt \xE2\x82"), 0, 9, 0, sink);
  partial.flush(partial.flushable, sink);
  assertEquals([frames, partial.length], [["prompt +"], 2]);
  partial.hold(bytesOf("\xAC"), 0, 1, 0, sink);
  partial.end(sink);
  assertEquals(frames, ["prompt +", "€+"]);
});
