#include "target/config/unit_state.hpp"

#include <fmt/format.h>

#include <boost/asio/post.hpp>

#include "base/atomic_file.hpp"
#include "base/check.hpp"
#include "base/shard.hpp"

namespace mpath::target {
namespace {

constexpr std::size_t state_bytes_max = std::size_t{64} << 20;

std::filesystem::path uuid_file(const std::filesystem::path& directory) {
  return directory / "uuid";
}
std::filesystem::path state_file(const std::filesystem::path& directory) {
  return directory / "state";
}

}  // namespace

std::expected<Uuid, std::string> load_unit_uuid(const std::filesystem::path& directory) {
  const auto file = uuid_file(directory);
  const auto text = read_file(file, 4096);
  if (text) {
    const auto uuid = parse_uuid(std::string_view(*text).substr(0, text->find_last_not_of(" \r\n") + 1));
    if (uuid && *uuid != Uuid{}) return *uuid;
    return std::unexpected(fmt::format(
        "{}: holds no UUID: write back the one the unit had, or remove the file to give the unit a new identity",
        file.string()));
  }
  if (text.error() != std::errc::no_such_file_or_directory)
    return std::unexpected(fmt::format("{}: {}", file.string(), text.error().message()));
  const Uuid made = make_uuid();
  if (auto kept = keep_unit_uuid(directory, made); !kept) return std::unexpected(kept.error());
  return made;
}

std::expected<void, std::string> keep_unit_uuid(const std::filesystem::path& directory, const Uuid& uuid) {
  const auto file = uuid_file(directory);
  const std::string text = format_uuid(uuid) + "\n";
  if (const auto there = read_file(file, 4096); there && *there == text) return {};
  if (const error_code error = replace_file(file, text))
    return std::unexpected(fmt::format("{}: {}", file.string(), error.message()));
  return {};
}

std::expected<LuState, std::string> load_unit_state(const std::filesystem::path& directory, const LuOptions& options) {
  const auto file = state_file(directory);
  const auto text = read_file(file, state_bytes_max);
  if (!text) {
    if (text.error() == std::errc::no_such_file_or_directory) return first_state(options);
    return std::unexpected(fmt::format("{}: {}", file.string(), text.error().message()));
  }
  const auto state = decode_lu_state(*text);
  if (!state)
    return std::unexpected(fmt::format(
        "{}: the saved state is damaged ({}); reservations in it are unknown. When no initiator relies on them, remove "
        "the file and reload",
        file.string(), state.error().message()));
  LuState survived = after_power_cycle(*state);
  if (!options.write_cache) survived.modes.write_cache = survived.saved_modes.write_cache = false;
  return survived;
}

FileStateLog::FileStateLog(Shard& home, boost::asio::thread_pool& pool, std::filesystem::path directory, const Log& log)
    : home_(home), pool_(pool), file_(state_file(directory)), log_(log) {}

FileStateLog::~FileStateLog() {
  CHECK(!busy_);
}

void FileStateLog::commit(const LuState& after, Done done) {
  CHECK(!busy_);
  busy_ = true;
  auto write = [this, text = encode_lu_state(after), done = std::move(done)]() mutable {
    const error_code error = replace_file(file_, text);
    if (error) log_.error("{}: the state cannot be written: {}", file_.string(), error.message());
    auto home = [this, error, answer = std::move(done)] {
      busy_ = false;
      answer(error);
    };
    boost::asio::post(home_.context(), std::move(home));
  };
  boost::asio::post(pool_, std::move(write));
}

void VolatileStateLog::commit(const LuState&, Done done) {
  auto answer = [done = std::move(done)] { done({}); };
  boost::asio::post(home_.context(), std::move(answer));
}

}  // namespace mpath::target
