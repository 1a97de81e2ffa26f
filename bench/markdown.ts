/**
 * Figures and tables in Markdown.
 *
 * @module
 */

export function show(value: number | undefined, digits: number, unit = 1): string {
  if (value === undefined) return "-";
  return (value / unit).toLocaleString("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** A table as `deno fmt` would have it. */
export function tableOf(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  align: "left" | "right" = "right",
): string {
  const isLeft = (i: number) => i === 0 || align === "left";
  const widths = header.map((title, i) =>
    Math.max(3, title.length, ...rows.map((row) => row[i]?.length ?? 0))
  );
  const rule = widths.map((width, i) =>
    isLeft(i) ? "-".repeat(width) : `${"-".repeat(width - 1)}:`
  );
  const pad = (cell: string, i: number) =>
    isLeft(i) ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0);
  return [header, rule, ...rows].map((row) => `| ${row.map(pad).join(" | ")} |\n`).join("");
}
