export * from "./memory.ts";
export * from "./gated_output.ts";
export * from "./faulty.ts";
export { noSpace } from "./disks.ts";
