/** The files that `ldd` names: a program's shared libraries and its loader. */
export function parseLdd(text: string): string[] {
  return text.split("\n").flatMap((line) => /(?:=> )?(\/\S+) \(0x/.exec(line)?.[1] ?? []);
}
