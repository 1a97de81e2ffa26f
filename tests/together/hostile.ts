import "../../tests/hostile_test.ts";
