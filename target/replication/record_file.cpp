#include "target/replication/record_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <utility>

namespace mpath::target::replication {
namespace {

using mpath::replication::record_bytes;
using mpath::replication::StoredRecord;
using mpath::replication::VoteRecord;

constexpr off_t copy_distance = 4096;  // apart, so that no sector or page holds both

error_code last_error() {
  return {errno, std::generic_category()};
}

off_t place_of(std::uint64_t serial) {
  return serial % 2 == 0 ? 0 : copy_distance;
}

error_code put(int file, const StoredRecord& stored) {
  const auto bytes = encode(stored);
  const ssize_t written = ::pwrite(file, bytes.data(), bytes.size(), place_of(stored.serial));
  if (written < 0) return last_error();
  if (written != static_cast<ssize_t>(bytes.size())) return std::make_error_code(std::errc::no_space_on_device);
  if (::fdatasync(file) != 0) return last_error();
  return {};
}

std::optional<StoredRecord> get(int file, off_t place) {
  std::array<std::byte, record_bytes> bytes{};
  if (::pread(file, bytes.data(), bytes.size(), place) != static_cast<ssize_t>(bytes.size())) return std::nullopt;
  const auto stored = mpath::replication::decode_record(bytes);
  if (!stored) return std::nullopt;
  return *stored;
}

error_code sync_folder(const std::filesystem::path& folder) {
  const UniqueFd handle(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!handle || ::fsync(handle.get()) != 0) return last_error();
  return {};
}

}  // namespace

std::expected<RecordFile, std::string> RecordFile::open(const std::filesystem::path& path, const Cluster& cluster,
                                                        const VoteRecord& first) {
  const auto failed = [&path](const std::string& why) {
    return std::unexpected(fmt::format("{}: {}", path.string(), why));
  };
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file) return failed(last_error().message());
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return failed("another process votes with it");
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return failed(last_error().message());
  if (status.st_size == 0) {
    const StoredRecord stored{.cluster = cluster, .serial = 1, .record = first};
    error_code error = put(file.get(), stored);
    if (!error) error = sync_folder(path.has_parent_path() ? path.parent_path() : ".");
    if (error) return failed(error.message());
    return RecordFile(std::move(file), stored);
  }
  std::optional<StoredRecord> newest;
  for (const off_t place : {off_t{0}, copy_distance}) {
    const auto found = get(file.get(), place);
    if (found && (!newest || newest->serial < found->serial)) newest = found;
  }
  if (!newest) {
    return failed(
        "the vote record is damaged; this node may have voted, so let the other members go on without it, and "
        "join it anew");
  }
  if (newest->cluster != cluster) return failed("it belongs to another cluster");
  return RecordFile(std::move(file), *newest);
}

error_code RecordFile::write(const VoteRecord& record) {
  StoredRecord next = stored_;
  ++next.serial;
  next.record = record;
  if (const error_code error = put(file_.get(), next)) return error;
  stored_ = next;
  return {};
}

}  // namespace mpath::target::replication
