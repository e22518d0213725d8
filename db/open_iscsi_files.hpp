// Taking over, and giving back, the record files of open-iscsi: nodes/, send_targets/, isns/ and ifaces/ under one root
// (/var/lib/iscsi, on some systems /etc/iscsi).
//
// Threads: as Store; blocks.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "db/store.hpp"

namespace mpath::db {

struct FilesReport {
  unsigned nodes = 0;  // taken over or written
  unsigned discoveries = 0;
  unsigned ifaces = 0;
  unsigned known = 0;                 // import: records the store had already; they keep their values
  std::vector<std::string> problems;  // one line each: "FILE: what was skipped and why"
};

// Reads what is there; a part that is missing is empty. Both forms of node records (a file for each portal, or a
// directory with a file for each iface) are taken. Empty files, unknown keys and refused values are reported and
// skipped. An iface that only node records know is made from them. Fails when the root cannot be read or the store
// cannot be written; what was taken over until then stays, and importing again goes on.
[[nodiscard]] Result<FilesReport> import_open_iscsi(Store& store, const std::filesystem::path& root);

// Writes every record: directories 0700, files 0600, each file whole or not at all. `root` is made when missing; files
// of other records are left alone. Fails with an errno.
[[nodiscard]] Result<FilesReport> export_open_iscsi(Store& store, const std::filesystem::path& root,
                                                    const std::string& version);

}  // namespace mpath::db
