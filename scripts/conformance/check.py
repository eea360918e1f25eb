"""What the checks share: a list of named results, and an exit status."""

import sys


class Checks:
    """Collects results; a failed check does not hide the ones after it."""

    def __init__(self, client):
        self.client = client
        self.passed = 0
        self.failed = 0

    def expect(self, name, condition, detail=""):
        """Counts one result and prints it when it is bad."""
        if condition:
            self.passed += 1
        else:
            self.failed += 1
            print(f"  {self.client}: {name}: FAILED {detail}", file=sys.stderr)

    def finish(self):
        """Prints the totals and leaves with a status that tells."""
        print(f"  {self.client}: {self.passed} checks passed, {self.failed} failed")
        sys.exit(1 if self.failed or not self.passed else 0)
