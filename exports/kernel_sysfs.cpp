#include "exports/kernel_sysfs.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <vector>

#include "base/unique_fd.hpp"

namespace mpath {
namespace {

constexpr std::size_t attribute_bytes_max = 4096;  // a page: what sysfs gives

// The disk and its partitions: their names below /dev.
std::vector<std::string> parts_of(const std::string& device) {
  std::vector<std::string> names{device};
  std::error_code error;
  std::filesystem::directory_iterator each("/sys/class/block/" + device, error);
  for (; !error && each != std::filesystem::directory_iterator(); each.increment(error)) {
    if (const std::string name = each->path().filename(); name.starts_with(device)) names.push_back(name);
  }
  return names;
}

bool is_claimed(const std::string& device) {
  const UniqueFd fd(::open(("/dev/" + device).c_str(), O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK));
  return fd.get() < 0 && errno == EBUSY;
}

bool is_open_in(const std::filesystem::path& descriptors, const std::vector<dev_t>& devices) {
  std::error_code error;
  std::filesystem::directory_iterator each(descriptors, error);
  for (; !error && each != std::filesystem::directory_iterator(); each.increment(error)) {
    struct stat status {};
    if (::stat(each->path().c_str(), &status) == 0 && S_ISBLK(status.st_mode) && std::ranges::find(devices, status.st_rdev) != devices.end()) {
      return true;
    }
  }
  return false;
}

}  // namespace

Result<std::string> read_attribute(const std::filesystem::path& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return failure(errno);
  std::array<char, attribute_bytes_max> text;
  const ssize_t count = ::read(fd.get(), text.data(), text.size());
  if (count < 0) return failure(errno);
  std::string line(text.data(), static_cast<std::size_t>(count));
  return line.substr(0, line.find('\n'));
}

Result<std::uint64_t> read_number(const std::filesystem::path& file) {
  const auto text = read_attribute(file);
  if (!text) return failure(text.error());
  std::uint64_t number = 0;
  if (std::from_chars(text->data(), text->data() + text->size(), number).ec != std::errc{}) return failure(EINVAL);
  return number;
}

error_code write_attribute(const std::filesystem::path& file, std::string_view value) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (fd.get() < 0) return errno_code(errno);
  // The kernel takes an attribute in one piece.
  const ssize_t written = ::write(fd.get(), value.data(), value.size());
  if (written < 0) return errno_code(errno);
  return static_cast<std::size_t>(written) == value.size() ? error_code{} : errno_code(EIO);
}

error_code set_attribute(const std::filesystem::path& file, std::string_view value) {
  const auto now = read_attribute(file);
  if (now && *now == value) return {};
  return write_attribute(file, value);
}

bool module_is_loaded(const std::string& name) {
  std::error_code error;
  return std::filesystem::exists("/sys/module/" + name, error);
}

error_code load_module(const std::string& name) {
  if (module_is_loaded(name)) return {};
  std::string program = "modprobe", quiet = "-q", module = name, path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  const std::array<char*, 4> arguments{program.data(), quiet.data(), module.data(), nullptr};
  const std::array<char*, 2> environment{path.data(), nullptr};
  for (const char* const place : {"/usr/sbin/modprobe", "/sbin/modprobe"}) {
    pid_t child = 0;
    if (::posix_spawn(&child, place, nullptr, nullptr, arguments.data(), environment.data()) != 0) continue;
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    break;
  }
  return module_is_loaded(name) ? error_code{} : errno_code(ENODEV);
}

bool is_in_use(const std::string& device) {
  std::vector<dev_t> devices;
  for (const std::string& name : parts_of(device)) {
    if (is_claimed(name)) return true;
    struct stat status {};
    if (::stat(("/dev/" + name).c_str(), &status) == 0) devices.push_back(status.st_rdev);
  }
  std::error_code error;
  std::filesystem::directory_iterator each("/proc", error);
  for (; !error && each != std::filesystem::directory_iterator(); each.increment(error)) {
    const std::string name = each->path().filename();
    if (name.find_first_not_of("0123456789") == name.npos && is_open_in(each->path() / "fd", devices)) return true;
  }
  return false;
}

}  // namespace mpath
