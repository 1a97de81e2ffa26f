import "../../tests/page_server_test.ts";
import "../../tests/page_test.ts";
