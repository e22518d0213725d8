// What Store::open makes, with the knobs that tests turn.
#pragma once

#include <chrono>

#include "db/store.hpp"

namespace mpath::db {

struct StoreOptions {
  std::chrono::milliseconds busy_wait{5000};  // for another process's write, each call
};

[[nodiscard]] Result<std::unique_ptr<Store>> open_sqlite_store(const std::filesystem::path& file, Settings defaults,
                                                               const StoreOptions& options);

}  // namespace mpath::db
