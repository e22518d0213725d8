#include "target/store/store.hpp"

#include <utility>

#include "target/store/file_store.hpp"
#include "target/store/memory_store.hpp"

namespace mpath::target {

std::expected<std::unique_ptr<Store>, std::string> Store::open(Shard& shard, const StoreOptions& options,
                                                               const Log& log) {
  if (options.block_bytes != 512 && options.block_bytes != 4096) {
    return std::unexpected(options.name + ": block_bytes is 512 or 4096");
  }
  switch (options.kind) {
    case StoreKind::file:
    case StoreKind::block:
      return FileStore::open(shard, options, log);
    case StoreKind::ram:
    case StoreKind::null:
      if (options.size_bytes < options.block_bytes) return std::unexpected(options.name + ": needs a size");
      return std::make_unique<MemoryStore>(options);
  }
  std::unreachable();
}

}  // namespace mpath::target
