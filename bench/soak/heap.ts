// Runs in a server before its main module, and says every few seconds how large the heap is.

const encoder = new TextEncoder();

function report(): void {
  Deno.stderr.writeSync(encoder.encode(`heap: ${Deno.memoryUsage().heapUsed}\n`));
}

Deno.unrefTimer(setInterval(report, 5000));
