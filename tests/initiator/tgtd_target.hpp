// A real target for tests: tgtd on an address of its own in 127.0.0.0/8, with one disk of RAM-backed file. Needs root.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>

namespace mpath::test {

class TgtdTarget {
 public:
  // Null text when it can be used here; else what is missing.
  [[nodiscard]] static std::string missing();

  TgtdTarget();
  ~TgtdTarget();
  TgtdTarget(const TgtdTarget&) = delete;
  TgtdTarget& operator=(const TgtdTarget&) = delete;

  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] std::uint16_t port() const { return 3260; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] static constexpr std::uint64_t size_bytes() { return std::uint64_t{64} << 20; }

  // Runs tgtadm with these words; true when it succeeded.
  bool administer(const std::string& words) const;
  void require_chap(const std::string& user, const std::string& secret);
  void prove_chap(const std::string& user, const std::string& secret);  // mutual: how the target shows who it is
  void freeze();  // stops answering, keeps the connection
  void thaw();
  void kill();    // as when its machine loses power, except that the kernel closes its sockets

 private:
  explicit TgtdTarget(int number);

  std::filesystem::path folder_;
  std::string address_, name_;
  int control_ = 0;
  pid_t pid_ = -1;
};

}  // namespace mpath::test
