/**
 * `$(NAME)` in env values, commands and arguments: replaced where NAME is known, left as it stands where it isn't; `$$` is a literal
 * `$`. https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
 */
export function expand(text: string, lookup: (name: string) => string | undefined): string {
  return text.replace(/\$\$|\$\(([^()]*)\)/g, (whole, name: string | undefined) =>
    whole === "$$" ? "$" : (lookup(name!) ?? whole),
  );
}
