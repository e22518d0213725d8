// Bringing the record file to a state that can be trusted: created whole, checked, its schema stepped forward.
//
// Threads: any; calls block.
#pragma once

#include <chrono>
#include <filesystem>
#include <span>

#include "db/sqlite.hpp"

namespace mpath::db {

// The SQL that takes a schema from version i to version i + 1. Steps that were released are never edited.
using SchemaSteps = std::span<const char* const>;
[[nodiscard]] SchemaSteps schema_steps();

// Runs the steps that are missing, all or none. Fails with newer_schema when the file is ahead of `steps`.
[[nodiscard]] error_code bring_up_to_date(Database& database, SchemaSteps steps);

struct OpenedFile {
  Database database;
  bool read_only = false;
};

// Opens `file`, or makes it: mode 0600 whatever the umask, missing parents 0700, and it appears with its schema or not
// at all. A file that is there is verified before anything is written; when that fails it is left as it was.
// A file nobody may write (mode without owner write, also for root; a read-only mount) is opened for reading.
[[nodiscard]] Result<OpenedFile> open_database_file(const std::filesystem::path& file, SchemaSteps steps,
                                                    std::chrono::milliseconds busy_wait);

}  // namespace mpath::db
