import "../../tests/page_log_test.ts";
