// Both configuration grammars: any text is read to its end, and problems name a line of it.
#include <algorithm>
#include <string_view>

#include "base/config_text.hpp"
#include "tests/fuzz/fuzz_input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mpath;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto lines = static_cast<unsigned>(std::count(text.begin(), text.end(), '\n')) + 1;
  for (const ConfigGrammar grammar : {ConfigGrammar::flat, ConfigGrammar::sections, ConfigGrammar::blocks}) {
    const ConfigTree tree = parse_config(grammar, text, "fuzz.conf");
    for (const ConfigProblem& problem : tree.problems) CHECK(problem.origin.line <= lines);
    for (const ConfigEntry& entry : tree.root.entries) {
      CHECK(entry.origin.line <= lines);
      // In sections "" can be written as a keyword; it is for the table of settings to refuse it.
      CHECK(!entry.key.empty() || grammar != ConfigGrammar::flat);
    }
  }
  return 0;
}
