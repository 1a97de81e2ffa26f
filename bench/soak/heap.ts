// Runs in a server before its main module: says every few seconds how large the heap is, and
// ends with the process that soaks.

const encoder = new TextEncoder();
const parent = Deno.ppid;

function report(): void {
  if (Deno.ppid !== parent) Deno.exit(1);
  Deno.stderr.writeSync(encoder.encode(`heap: ${Deno.memoryUsage().heapUsed}\n`));
}

Deno.unrefTimer(setInterval(report, 5000));
