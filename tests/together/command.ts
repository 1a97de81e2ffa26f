import "../../lib/cli/hints_test.ts";
import "../../lib/cli/options_test.ts";
import "../../lib/cli/process_test.ts";
import "../../lib/cli/values_test.ts";
import "../../main_test.ts";
import "../../tests/ends_test.ts";
import "../../tests/hints_test.ts";
