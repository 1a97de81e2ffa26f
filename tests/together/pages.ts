import "../../examples/asyncore_test.ts";
import "../../examples/examples_test.ts";
import "../../tests/docs_test.ts";
import "../../tests/layout_test.ts";
import "../../tests/recipes_test.ts";
