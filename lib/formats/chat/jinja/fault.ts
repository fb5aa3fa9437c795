// A template's own failure, before it becomes an error of the project.

/** Raised by raise_exception() and by operations that Python refuses. */
export class TemplateFault extends Error {
  constructor(
    message: string,
    /** Did the template itself raise it. */
    readonly raised: boolean = false,
  ) {
    super(message);
  }
}
