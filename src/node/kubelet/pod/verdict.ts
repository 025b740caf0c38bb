/** Why a Pod as a whole has ended or is not taken. */
export interface Verdict {
  readonly reason: string;
  readonly message: string;
}
