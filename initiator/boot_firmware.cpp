#include "initiator/boot_firmware.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <optional>

#include "db/settings.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath {
namespace {

constexpr unsigned valid = 1;  // bit 0 of every entry's flags

// Empty where the firmware gave nothing: then the kernel has no such file, or nothing in it.
std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  while (!line.empty() && (line.back() == ' ' || line.back() == '\0')) line.pop_back();
  return line;
}

std::optional<unsigned> number_of(const std::filesystem::path& file) {
  const std::string text = text_of(file);
  unsigned number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, problem] = std::from_chars(text.data(), end, number);
  if (problem != std::errc{} || stopped != end) return std::nullopt;
  return number;
}

// An address that is all zeroes stands for none.
std::string address_of(const std::filesystem::path& file) {
  std::string address = text_of(file);
  if (address == "0.0.0.0" || address.find_first_not_of("0:") == address.npos) return {};
  return db::canonical_address(address);
}

bool is_valid(const std::filesystem::path& entry) { return (number_of(entry / "flags").value_or(0) & valid) != 0; }

Result<BootNic> read_nic(const std::filesystem::path& entry) {
  const auto index = number_of(entry / "index");
  BootNic nic{.index = index.value_or(0),
              .mac = text_of(entry / "mac"),
              .address = address_of(entry / "ip-addr"),
              .subnet_mask = text_of(entry / "subnet-mask"),
              .gateway = address_of(entry / "gateway"),
              .vlan = number_of(entry / "vlan").value_or(0)};
  if (!index || nic.mac.empty()) return failure(EPROTO);
  return nic;
}

Result<BootTarget> read_target(const std::filesystem::path& entry) {
  const auto index = number_of(entry / "index"), nic = number_of(entry / "nic-assoc"), port = number_of(entry / "port");
  BootTarget target{.index = index.value_or(0),
                    .name = text_of(entry / "target-name"),
                    .address = address_of(entry / "ip-addr"),
                    .port = static_cast<std::uint16_t>(port.value_or(0)),
                    .lun = text_of(entry / "lun"),
                    .nic = nic.value_or(0),
                    .user = text_of(entry / "chap-name"),
                    .password = text_of(entry / "chap-secret"),
                    .user_in = text_of(entry / "rev-chap-name"),
                    .password_in = text_of(entry / "rev-chap-name-secret")};
  if (!index || !nic || !port || *port == 0 || *port > 65535 || target.name.empty() || target.address.empty()) return failure(EPROTO);
  return target;
}

}  // namespace

Result<BootFirmware> read_boot_firmware(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::directory_iterator each(directory, error);
  if (error) return failure(error);
  BootFirmware firmware{.initiator_name = text_of(directory / "initiator" / "initiator-name")};
  for (; each != std::filesystem::directory_iterator(); each.increment(error)) {
    if (error) return failure(error);
    const std::string name = each->path().filename();
    if (!is_valid(each->path())) continue;
    if (name.starts_with("ethernet")) {
      auto nic = read_nic(each->path());
      if (!nic) return failure(nic.error());
      firmware.nics.push_back(*std::move(nic));
    } else if (name.starts_with("target")) {
      auto target = read_target(each->path());
      if (!target) return failure(target.error());
      firmware.targets.push_back(*std::move(target));
    }
  }
  std::ranges::sort(firmware.nics, {}, &BootNic::index);
  std::ranges::sort(firmware.targets, {}, &BootTarget::index);
  const auto has_nic = [&](const BootTarget& target) {
    return std::ranges::find(firmware.nics, target.nic, &BootNic::index) != firmware.nics.end();
  };
  if (!std::ranges::all_of(firmware.targets, has_nic)) return failure(EPROTO);
  return firmware;
}

bool boots_from(const BootFirmware& firmware, const std::string& target_name, scsi::Lun lun) {
  // As the kernel writes it, which cannot be read back for certain.
  std::string text;
  for (const std::byte byte : scsi::lun_field(lun)) text += fmt::format("{:x}", static_cast<unsigned>(byte));
  const auto same = [&](const BootTarget& target) { return target.name == target_name && target.lun == text; };
  return std::ranges::any_of(firmware.targets, same);
}

}  // namespace mpath
