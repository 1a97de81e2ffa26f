import "../../lib/output/log_file_test.ts";
import "../../lib/output/log_writer_test.ts";
import "../../lib/output/output_test.ts";
import "../../lib/output/path_template_test.ts";
import "../../lib/output/stdout_test.ts";
import "../../lib/output/watchdog_test.ts";
import "../../tests/background_writes_test.ts";
import "../../tests/rotation_test.ts";
