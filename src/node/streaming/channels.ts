/** The streams of exec and attach over one WebSocket: the first byte of each message. https://kubernetes.io/docs/reference/using-api/ (remotecommand v4, v5) */
export const CHANNEL = {
  stdin: 0,
  stdout: 1,
  stderr: 2,
  /** The exit, as a Status. */
  error: 3,
  resize: 4,
  /** v5 only: the stream named by the next byte has ended. */
  close: 255,
} as const;
