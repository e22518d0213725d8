#include "exports/tcmu_kernel.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string_view>

#include "base/stable_hash.hpp"
#include "exports/kernel_sysfs.hpp"

namespace mpath {
namespace {

namespace fs = std::filesystem;

const fs::path configfs = "/sys/kernel/config";
const fs::path target = configfs / "target";
const fs::path cores = target / "core";
const fs::path loopback = target / "loopback";
constexpr unsigned hbas_max = 4096;
constexpr unsigned data_area_mib = 128;  // payloads under way; more wait in the kernel
// Seconds. A command's age says nothing: the map may queue, or wait for the next mpathd. This is as good as never, and
// no kernel's arithmetic overflows over it.
constexpr auto patience = "2000000";

// What is no plain character becomes %XX: of file names and of the kernel's comma lists.
std::string plain(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool fine = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.';
    out += fine ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out.substr(0, 180);
}

error_code make_directory(const fs::path& place) {
  return ::mkdir(place.c_str(), 0755) == 0 || errno == EEXIST ? error_code{} : errno_code(errno);
}
error_code remove_directory(const fs::path& place) {
  return ::rmdir(place.c_str()) == 0 || errno == ENOENT ? error_code{} : errno_code(errno);
}

// How configfs says that it does not know a kind of object.
error_code without_module(error_code error) { return error == std::errc::invalid_argument ? errno_code(ENODEV) : error; }

std::optional<fs::path> only_entry(const fs::path& directory) {
  std::error_code error;
  const fs::directory_iterator first(directory, error);
  if (error || first == fs::directory_iterator()) return std::nullopt;
  return first->path();
}

}  // namespace

TcmuKernel::TcmuKernel(const std::string& identity)
    : name_("mpathd-" + plain(identity)),
      config_("mpathd/" + plain(identity)),
      // NAA 3: given locally.
      port_(fmt::format("naa.3{:015x}", stable_hash(identity) >> 4)),
      initiator_(fmt::format("naa.3{:015x}", stable_hash(identity + " initiator") >> 4)) {}

error_code TcmuKernel::prepare() {
  // What is part of the kernel cannot always be seen: the directories below tell.
  for (const char* const module : {"target_core_mod", "target_core_user", "tcm_loop", "sd_mod"}) {
    static_cast<void>(load_module(module));
  }
  std::error_code error;
  if (!fs::exists(target, error)) {
    if (::mount("configfs", configfs.c_str(), "configfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0 &&
        errno != EBUSY) {
      return errno_code(errno);
    }
  }
  if (!fs::exists(cores, error)) return errno_code(ENODEV);
  return without_module(make_directory(loopback));
}

Result<bool> TcmuKernel::find() {
  std::error_code error;
  for (fs::directory_iterator hba(cores, error), end; !error && hba != end; hba.increment(error)) {
    if (!hba->path().filename().string().starts_with("user_")) continue;
    const fs::path place = hba->path() / name_;
    const auto config = read_attribute(place / "attrib" / "dev_config");
    if (!config || *config != config_) continue;
    backstore_ = place;
    if (uio()) return true;
    if (const error_code failed = remove_lun()) return failure(failed);
    if (const error_code failed = remove_backstore()) return failure(failed);
    return false;
  }
  if (error) return failure(error);
  return false;
}

error_code TcmuKernel::make_backstore(std::uint64_t size_bytes, std::uint32_t block_size) {
  for (unsigned number = 0; number < hbas_max; ++number) {
    const fs::path hba = cores / fmt::format("user_{}", number);
    if (::mkdir(hba.c_str(), 0755) != 0) {
      if (errno == EEXIST) continue;
      return without_module(errno_code(errno));
    }
    backstore_ = hba / name_;
    error_code error = make_directory(backstore_);
    if (!error) error = configure(size_bytes, block_size);
    if (error) static_cast<void>(remove_backstore());
    return error;
  }
  return errno_code(ENOSPC);
}

error_code TcmuKernel::configure(std::uint64_t size_bytes, std::uint32_t block_size) const {
  const std::string words =
      fmt::format("dev_size={},dev_config={},hw_block_size={},max_data_area_mb={},nl_reply_supported=-1", size_bytes,
                  config_, block_size, data_area_mib);
  if (const error_code error = write_attribute(backstore_ / "control", words)) return error;
  const fs::path attributes = backstore_ / "attrib";
  // These can be set only while there is no LUN. Reservations and ALUA are the unit's, not the kernel's: older kernels
  // have no such attribute, and then answer reservations themselves.
  if (const error_code error = write_attribute(attributes / "cmd_time_out", "0")) return error;
  if (const error_code error = write_attribute(attributes / "qfull_time_out", patience)) return error;
  for (const char* const name : {"pgr_support", "alua_support"}) {
    const error_code error = write_attribute(attributes / name, "0");
    if (error && error != std::errc::no_such_file_or_directory) return error;
  }
  static_cast<void>(write_attribute(attributes / "tmr_notification", "1"));
  return write_attribute(backstore_ / "enable", "1");
}

std::string TcmuKernel::uio_name() const {
  const std::string hba = backstore_.parent_path().filename().string();
  return fmt::format("tcm-user/{}/{}/{}", hba.substr(hba.find('_') + 1), name_, config_);
}

std::optional<std::string> TcmuKernel::uio() const {
  const std::string wanted = uio_name();
  std::error_code error;
  for (fs::directory_iterator each("/sys/class/uio", error), end; !error && each != end; each.increment(error)) {
    if (read_attribute(each->path() / "name") == wanted) return each->path().filename().string();
  }
  return std::nullopt;
}

Result<TcmuKernel::Opened> TcmuKernel::open_ring() {
  const auto name = uio();
  if (!name) return failure(EAGAIN);
  const auto text = read_attribute(fs::path("/sys/class/uio") / *name / "maps" / "map0" / "size");
  if (!text) return failure(text.error());
  std::size_t size = 0;
  const std::string_view digits = std::string_view(*text).substr(text->starts_with("0x") ? 2 : 0);
  if (std::from_chars(digits.data(), digits.data() + digits.size(), size, 16).ec != std::errc() || size == 0) {
    return failure(EBADMSG);
  }
  Opened opened;
  opened.device.reset(::open(("/dev/" + *name).c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!opened.device) return failure(errno == ENOENT ? EAGAIN : errno);
  void* const place = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, opened.device.get(), 0);
  if (place == MAP_FAILED) return failure(errno);
  opened.memory = {static_cast<std::byte*>(place), size};
  return opened;
}

error_code TcmuKernel::reset_ring(bool fail) {
  const fs::path actions = backstore_ / "action";
  if (const error_code error = write_attribute(actions / "reset_ring", fail ? "2" : "1")) return error;
  const error_code error = write_attribute(actions / "block_dev", "0");
  return error == std::errc::no_such_file_or_directory ? error_code{} : error;
}

fs::path TcmuKernel::lun() const { return loopback / port_ / "tpgt_1" / "lun" / "lun_0"; }

error_code TcmuKernel::make_lun() {
  const fs::path link = lun() / name_;
  std::error_code ignored;
  if (fs::exists(link, ignored)) {
    return fs::equivalent(link, backstore_, ignored) ? error_code{} : errno_code(EEXIST);
  }
  const fs::path group = loopback / port_ / "tpgt_1";
  for (const fs::path& place : {loopback / port_, group}) {
    if (const error_code error = make_directory(place)) return error;
  }
  if (const auto nexus = read_attribute(group / "nexus"); !nexus || nexus->empty()) {
    if (const error_code error = write_attribute(group / "nexus", initiator_)) return error;
  }
  if (const error_code error = make_directory(lun())) return error;
  return ::symlink(backstore_.c_str(), link.c_str()) == 0 ? error_code{} : errno_code(errno);
}

Result<std::string> TcmuKernel::disk() const {
  const auto address = read_attribute(loopback / port_ / "tpgt_1" / "address");  // host:channel:target
  if (!address) return failure(address.error());
  const auto block = only_entry(fs::path("/sys/class/scsi_device") / (*address + ":0") / "device" / "block");
  if (!block) return failure(EAGAIN);
  const std::string name = block->filename().string();
  const auto size = read_attribute(*block / "size");
  if (!size || *size == "0" || ::access(("/dev/" + name).c_str(), F_OK) != 0) return failure(EAGAIN);
  return name;
}

error_code TcmuKernel::set_patience(const std::string& disk) const {
  return write_attribute(fs::path("/sys/class/block") / disk / "device" / "timeout", patience);
}

error_code TcmuKernel::set_size(std::uint64_t size_bytes, const std::string& disk) const {
  // The kernel's own idea of the size matters to nobody here: it tells listeners of it, and fails where there are none.
  const error_code error = write_attribute(backstore_ / "attrib" / "dev_size", std::to_string(size_bytes));
  if (error && error != std::errc::no_such_process) return error;
  return write_attribute(fs::path("/sys/class/block") / disk / "device" / "rescan", "1");
}

std::uint64_t TcmuKernel::size() const { return read_number(backstore_ / "attrib" / "dev_size").value_or(0); }

error_code TcmuKernel::set_offline(const std::string& disk) const {
  return write_attribute(fs::path("/sys/class/block") / disk / "device" / "state", "offline");
}

error_code TcmuKernel::remove_lun() {
  const fs::path link = lun() / name_;
  if (::unlink(link.c_str()) != 0 && errno != ENOENT) return errno_code(errno);
  const fs::path group = loopback / port_ / "tpgt_1";
  for (const fs::path& place : {lun(), group, loopback / port_}) {
    if (const error_code error = remove_directory(place)) return error;
  }
  return {};
}

error_code TcmuKernel::remove_backstore() {
  if (backstore_.empty()) return {};
  if (const error_code error = remove_directory(backstore_)) return error;
  const error_code error = remove_directory(backstore_.parent_path());
  // Somebody else may have put a backstore of his own beside it.
  return error == std::errc::directory_not_empty ? error_code{} : error;
}

}  // namespace mpath
