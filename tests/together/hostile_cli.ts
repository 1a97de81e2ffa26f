import "../../tests/hostile_cli_test.ts";
