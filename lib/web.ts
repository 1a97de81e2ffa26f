export class Web {
  greeting = "";
  addr: Deno.NetAddr | undefined;
  constructor(_: unknown) {}
  finish(): Promise<void> {
    return Promise.resolve();
  }
}
