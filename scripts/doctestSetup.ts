/** Lets `// => value` compare with Effect's equality first, and structurally where that says no. */
import { Equal } from "effect"
import { expect } from "vitest"

expect.addEqualityTesters([(a, b) => Equal.equals(a, b) ? true : undefined])
