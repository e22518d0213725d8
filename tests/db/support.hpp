// A directory of its own for every test, removed afterwards.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "db/store.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath::db {

class StoreTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path file() const { return directory_.path() / "state/mpathd.sqlite"; }
  // Opens (again); the test fails when that does.
  Store& open(Settings defaults = {}) {
    store_.reset();
    auto opened = Store::open(file(), std::move(defaults));
    EXPECT_TRUE(opened) << opened.error().message();
    store_ = *std::move(opened);
    return *store_;
  }
  void close() { store_.reset(); }

  const test::TemporaryDirectory directory_;
  std::unique_ptr<Store> store_;
};

inline std::string read_file(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void write_file(const std::filesystem::path& file, const std::string& text) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << text;
}

}  // namespace mpath::db
