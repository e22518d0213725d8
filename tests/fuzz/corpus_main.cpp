// Runs a fuzz target over its corpus without libFuzzer: every file as it is, cut at every length, with every byte set
// to 00, 7f, 80 and ff in turn, and with a byte more. Inputs are in heap blocks of exactly their size.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

std::size_t runs = 0;

void run(const Input& input, std::size_t size) {
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[size]);
  if (size > 0) std::memcpy(exact.get(), input.data(), size);
  LLVMFuzzerTestOneInput(exact.get(), size);
  ++runs;
}

void run_with_changes(Input input) {
  constexpr std::size_t cut_max = 512;  // longer inputs are cut and changed in their first bytes only
  run(input, input.size());
  const std::size_t reach = std::min(input.size(), cut_max);
  for (std::size_t size = 0; size < reach; ++size) run(input, size);
  for (std::size_t at = 0; at < reach; ++at) {
    const std::uint8_t kept = input[at];
    for (const std::uint8_t value : {0x00, 0x7f, 0x80, 0xff}) {
      input[at] = value;
      run(input, input.size());
    }
    input[at] = kept;
  }
  input.push_back(0xa5);
  run(input, input.size());
}

}  // namespace

int main(int argc, char** argv) {
  std::set<std::filesystem::path> files;  // in a fixed order
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) files.insert(entry.path());
  }
  if (files.empty()) {
    std::fprintf(stderr, "no corpus\n");
    return 1;
  }
  for (const auto& path : files) {
    std::ifstream file(path, std::ios::binary);
    run_with_changes(Input(std::istreambuf_iterator<char>(file), {}));
  }
  std::printf("%zu files, %zu runs\n", files.size(), runs);
  return 0;
}
